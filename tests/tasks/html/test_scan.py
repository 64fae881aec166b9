"""The scan of a serialisation against the tree that it was made from, and what a browser shows on a line."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from lxml.html import HtmlElement

from tasks.html.scan import (
    CAPITALS,
    DIGITS,
    END,
    HIDDEN,
    HIDDEN_FROM_READERS,
    IN_BOLD,
    IN_LINKS,
    START,
    STOPS,
    WIDTH,
    Scan,
    scan,
)
from tasks.html.vocabulary import ELEMENT, ELEMENTS, IS_SKIPPED, MEANINGS
from tasks.sources.charset import decode_page
from tasks.sources.html_tree import parse_html, serialised, to_lxml
from tasks.sources.markup import MAX_ELEMENTS
from tests.bench.gold import gold_pages


def scanned(page: str) -> Scan:
    return scan(serialised(parse_html(page, MAX_ELEMENTS))[0])


def texts(page: Scan) -> list[str]:
    return [bytes(page.text[block[START] : block[END]]).decode() for block in page.blocks]


@pytest.mark.parametrize(
    ("page", "lines"),
    [
        ("", []),
        ("a<p>b", ["a", "b"]),
        ("<p> a\n <b> b </b>c\t<i>d</i>e ", ["a b c de"]),
        ("a<br>b<hr>c", ["a", "b", "c"]),
        ('<p>&amp;lt; &#128; &lt;b&gt; &nbsp; "x"', ['&lt; € <b> "x"']),
        ("<table><tr><td>a<td>b<tr><td>c", ["a", "b", "c"]),
        ("<ul><li>a<ul><li>b</ul>c", ["a", "b", "c"]),
        ("<pre>\n  a\n\tb <b>c\n</b></pre>d", ["  a\n\tb c", "d"]),
        ("<pre>a<br>b</pre>", ["a\nb"]),
        ("<xmp>a<b>&amp;</xmp>c", ["a<b>&amp;", "c"]),
        ("<plaintext>a</plaintext>b", ["a</plaintext>b"]),
        ("<title>t</title><script>s</script><style>s</style><p>a<script>s</script>b", ["ab"]),
        ("a<button>x</button>b<svg><text>x</text></svg>c<textarea>x</textarea>", ["a b c"]),
        (
            "a<template>x<script>'</template>y</script><xmp>&n</xmp></template>b<svg><template>z</template></svg>",
            ["ab"],
        ),
        ("<p>a<math><mi>x</mi><annotation>no</annotation></math>", ["ax"]),
        ("<my-box>a</my-box>b<mybox>c</mybox><my-box><p>d</p></my-box>", ["a bc", "d"]),
        ("Choose<select><option>x<option>y</select>to<button><div>z</div></button>paint", ["Choose to paint"]),
        ("<script><!--<script></script>--></script>a", ["a"]),
        ("<p x='>' y=\"a>b\" z=&quot;>a", ["a"]),
        ('<p a"b=c =d e>f', ["f"]),
        ("<!-- <p>x --> a <!x>", ["a"]),
        ('<?php x="> a <?b-- ?><b class="c">d</b> <?x y="&lt>é', ["a d é"]),
        ("\x01a\x7fb\u200dc", ["ab\u200dc"]),
        ("<p>\u3000日\u3000本<pre>\u3000日</pre>", ["日 本", "\u3000日"]),
    ],
)
def test_a_block_is_what_stands_between_breaks_of_a_line(page: str, lines: list[str]) -> None:
    assert texts(scanned(page)) == lines


def test_what_is_counted_of_a_block() -> None:
    (block,) = scanned("<p>Ab, <a>cd</a> <b>12</b>。日本, naïve").blocks
    counts = block[[WIDTH, IN_LINKS, IN_BOLD, STOPS, DIGITS, CAPITALS]]
    assert counts.tolist() == [3 + 2 + 2 + 2 + 4 + 1 + 5, 2, 2, 3, 2, 1]


def test_names_and_visibility() -> None:
    page = scanned(
        '<div class="entry-content" id=x><p style="color:red; DISPLAY :\nnone !important">a'
        "<p hidden>b<p aria-hidden=true role=Navigation>c<p aria-hidden=no style='x:display:none'>d</div>"
    )
    found = {}
    for number, element in enumerate(page.elements):
        meanings = [line.split()[0] for bit, line in enumerate(MEANINGS) if int(page.meanings[number]) >> bit & 1]
        found[number, ELEMENTS[element]] = (meanings, int(page.flags[number]))
    assert list(found.values())[3:] == [
        (["content", "post"], 0),
        ([], HIDDEN),
        ([], HIDDEN),
        (["nav"], HIDDEN_FROM_READERS),
        ([], 0),
    ]


def test_elements_and_texts_are_those_of_the_tree(shared_data: Path) -> None:
    """Real pages have the elements, depths and characters that lxml's copy of the same tree has."""
    for gold in gold_pages()[::60]:
        html = decode_page(gold.body, gold.content_type).text
        page = scanned(html)
        root = tree(html)
        elements = list(root.iter())
        assert page.depths.tolist() == [sum(1 for _ in element.iterancestors()) for element in elements]
        assert characters("".join(texts(page))) == shown_characters(root), gold.id


def tree(html: str) -> HtmlElement:
    root = to_lxml(parse_html(html, MAX_ELEMENTS), MAX_ELEMENTS)
    for template in list(root.iter("template")):
        template.drop_tree()
    return root


def shown_characters(root: HtmlElement) -> str:
    """Those outside of skipped elements, which this empties."""
    for element in list(root.iter()):
        if element.tag in ELEMENT and IS_SKIPPED[ELEMENT[element.tag]]:
            element.clear(keep_tail=True)
    return characters("".join(root.itertext()))


def characters(text: str) -> str:
    """The text without white space, and without what one of the two sides drops: controls and no characters."""
    return re.sub("[\x00-\x20\x7f\ufffe\uffff]", "", "".join(text.split()))


def test_any_markup_is_read_as_the_tree_of_it() -> None:
    """Soups of tags: blocks hold what they must, and together the characters that lxml's copy of the tree shows."""
    pieces = ["<p>", "</p>", "<a b='", '"', "'", ">", "<b", "</", "<pre>", "</pre>", "<svg>", "<br>", "x & y", "<!--"]
    pieces += [
        "-->",
        "<table>",
        "<td>",
        "<select>",
        "<xmp>",
        "</xmp>",
        "<template>",
        "</template>",
        "é",
        "\0",
        "<a=b c>",
        '<?x y="',
        "?>",
        "<math>",
        "<mtext>",
        "<title>",
        "<li>",
        "<x-y>",
        "</x-y>",
        "<frameset>",
        "<![CDATA[",
        "&lt",
        "&amp;nbsp;",
        "\u3000",
        "\ud800",
    ]
    random.seed(5)
    for _ in range(2_000):
        page = "".join(random.choices(pieces, k=random.randrange(1, 40)))
        found = scanned(page)
        assert (found.parents < np.arange(len(found.parents))).all()
        for block, text in zip(found.blocks, texts(found), strict=True):
            assert text == text.strip(" \r") and 0 <= block[IN_LINKS] <= block[WIDTH] and block[WIDTH] > 0
        assert characters("".join(texts(found))) == shown_characters(tree(page)), page
