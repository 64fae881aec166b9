"""What trafilatura chooses of a page is kept whole, and its work is bounded."""

from __future__ import annotations

import json

import pytest
from lxml import etree
from trafilatura import htmlprocessing, main_extractor
from trafilatura.baseline import _build_body, _render_text

from tasks.sources import main_text
from tasks.sources.extraction import ExtractionError, Extractor, extract_page

PARAGRAPHS = [
    f"Paragraph {number}: the mill stands by the river, and its wheel has turned for three hundred years."
    for number in range(6)
]
# Joiners, tags, private use, a new block, unassigned, soft hyphen, word joiner, a symbol that trafilatura uses itself.
CHARACTERS = "\u200c\u200d\U000e0067\ue000\U000f0000\U00031350\u0378\xad\u2060\u200b\ufdd0\u2424\u0958e\u0301\u212b"


def text_of(page: str) -> str:
    return extract_page(page, Extractor.trafilatura).text


def lines(page: str) -> list[str]:
    return text_of(page).split("\n")


def body() -> str:
    return "".join(f"<p>{text}</p>" for text in PARAGRAPHS)


@pytest.mark.parametrize(
    "page",
    [
        "{}",
        "<div>{}</div>",
        "<article>{}",
        "<html><body></body></html>{}",
        "<!doctype html><html><body><p>" + PARAGRAPHS[0] + "</p></body></html><p>behind</p>{}",
        "<div>" * 300 + "{}" + "</div>" * 300,
        "<div>" * 700 + "{}",
        "<!-- one --!>{}<!-- not closed",
        "<!-->{}<!--->",
        "<? bogus ?><!bogus>{}</ bogus>",
        "<script>" + "a" * 11_000_000 + "</script>{}",
        "<script>x = '<!--<script>y</script>';</script>{}",
        "<style></stylex></style><svg><style><p></style></svg>{}",
        "<noscript><p>no script</p></noscript>{}",
        "<template><p>in a template, there is a text</p></template>{}",
        "<table>{}<tr><td>cell</table>",
        "<p a\0b='\x01' {{x}}=1 \"=''>{}</p>",
        "<a<b>{}</a<b>",
        "<body><frameset></frameset>{}",
    ],
)
def test_every_paragraph_is_kept(page: str) -> None:
    found = text_of(page.format(body()))
    assert [text for text in PARAGRAPHS if text not in found] == []


@pytest.mark.parametrize("tag", ["xmp", "listing", "plaintext", "pre"])
def test_texts_that_are_shown_as_they_are(tag: str) -> None:
    assert "x &lt;b&gt; y" in text_of(body() + f"<{tag}>{PARAGRAPHS[0]} x &amp;lt;b&amp;gt; y</{tag}>") or tag in (
        "xmp",
        "plaintext",
    )
    assert "verbatim: the wheel" in text_of(body() + f"<{tag}>This is verbatim: the wheel turns and turns.</{tag}>")


@pytest.mark.parametrize("character", ["&#11;", "&#xFFFF;", "&#xFFFE;", "&#1;", "&#0;", "\0", "\x0b", "\x01", "\uffff"])
def test_a_character_that_cannot_be_stored_costs_itself_only(character: str) -> None:
    damaged = text_of(body().replace("wheel", f"wh{character}eel", 1))
    assert damaged.replace("\ufffd", "") == text_of(body())


def test_no_character_that_is_text_is_deleted_or_changed() -> None:
    assert f"some{CHARACTERS}text" in text_of(body() + f"<p>There is some{CHARACTERS}text in this paragraph.</p>")
    written = f"This short page has some{CHARACTERS}text in it."
    assert text_of(f"<div>{written}</div>") == written
    linked = json.dumps({"@type": "Article", "articleBody": f"<p>{written} {PARAGRAPHS[0]}</p>"}, ensure_ascii=False)
    assert f"some{CHARACTERS}text" in text_of(f'<script type="application/ld+json">{linked}</script>')


def test_references_are_resolved_once() -> None:
    shown = "Write &lt;b&gt;, &nbsp; and &#13; for a bold text."
    assert shown in text_of(body() + f"<p>{shown.replace('&', '&amp;')}</p>")


def test_linked_data_is_parsed_as_browsers_do() -> None:
    nested = "<div>" * 300 + "".join(f"<p>{text}</p>" for text in PARAGRAPHS) + "</div>" * 300
    linked = json.dumps({"@type": "Article", "articleBody": nested})
    assert all(text in text_of(f'<script type="application/ld+json">{linked}</script>') for text in PARAGRAPHS)


def test_an_error_of_the_extractor_is_no_empty_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (ValueError("a"), TypeError("b"), RecursionError("c"), etree.XMLSyntaxError("d", 1, 1, 1)):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(main_text, "trafilatura_sequence", fail)
        with pytest.raises(ExtractionError, match=f"trafilatura: {type(error).__name__}"):
            text_of(body())


def test_the_functions_that_are_replaced_are_those_that_trafilatura_calls() -> None:
    assert _build_body(["a\u200d\x01b"])[1] == "a\u200db"
    assert _render_text("<div>" * 300 + "a\u200db") == "a\u200db"
    assert [module.strip_tags for module in (htmlprocessing, main_extractor)] == [main_text._strip_tags] * 2


@pytest.mark.parametrize("tag", ["span", "em", "a", "ins", "font"])
def test_text_of_many_inline_elements_becomes_one_node(tag: str) -> None:
    """Lxml's access to a text node is linear in the number of those before it."""
    tree = etree.HTML("<p>" + f"<{tag}>word</{tag}> " * 3_000)
    main_text._strip_tags(tree, [tag])
    assert len(tree.xpath("//text()")) == 1
    page = f"<article><h1>Title</h1>{body()}<p>" + f"<{tag}>word</{tag}> " * 20_000 + "</article>"
    assert text_of(page).count("word ") >= 19_999


@pytest.mark.parametrize(
    "table",
    [
        "<tr>" + "<td>a" * 1_001,
        "<tr>" + "<td colspan=100>a" * 11,
        "<tr><td colspan=100>a" + "<tr><td>b" * 2_100,
        ("<tr>" + "<td colspan=100 rowspan=100>a" * 10) * 20,
    ],
)
def test_tables_with_room_for_too_many_cells_are_refused(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_text, "trafilatura_sequence", None)
    with pytest.raises(ExtractionError, match="table"):
        text_of(f"<table>{table}</table>")


def test_a_table_is_kept() -> None:
    rows = "".join(f"<tr><td rowspan=2>{number}<td colspan=3>{PARAGRAPHS[0]}" for number in range(200))
    assert text_of(f"<table>{rows}</table>").count(PARAGRAPHS[0]) == 200
