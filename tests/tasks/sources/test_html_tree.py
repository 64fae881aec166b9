"""Trees as browsers build them, and the limits on the work that a page may cause."""

from __future__ import annotations

import pytest
from lxml import etree

from tasks.sources import html_tree
from tasks.sources.extraction import ExtractionError, Extractor, extract_page
from tasks.sources.html_tree import parse_html, to_lxml
from tasks.sources.markup import MAX_ELEMENTS, MarkupLimit, check_markup


def tree(page: str) -> str:
    """The tree as lxml writes it, from the body on."""
    root = to_lxml(parse_html(page, MAX_ELEMENTS), MAX_ELEMENTS)
    return etree.tostring(root.find("body"), encoding="unicode", method="xml")


@pytest.mark.parametrize(
    ("page", "body"),
    [
        ("", "<body/>"),
        ("a<p>b", "<body>a<p>b</p></body>"),
        ("<p>a</html>b", "<body><p>ab</p></body>"),
        ("<p>a<b>b<p>c</b>d", "<body><p>a<b>b</b></p><p><b>c</b>d</p></body>"),
        ("<table>a<tr><td>b</table>", "<body>a<table><tbody><tr><td>b</td></tr></tbody></table></body>"),
        ("<a>b<a>c", "<body><a>b</a><a>c</a></body>"),
        ("<p>&amp;lt; &#128; &copy &notit;", "<body><p>&amp;lt; € © ¬it;</p></body>"),
        ("<p>a\0b&#0;c\fd", "<body><p>ab\ufffdc d</p></body>"),
        ("<p><!-- a --!>b<!-->c<!x>d</ y>e", "<body><p>bcde</p></body>"),
        ('<p a="&quot;&lt;" b=\'"\' c=d>', '<body><p a="&quot;&lt;" b="&quot;" c="d"/></body>'),
        ("<br/>a<img src=x>b", '<body><br/>a<img src="x"/>b</body>'),
        ("<xmp>a<b>&amp;</xmp>", "<body><pre>a&lt;b&gt;&amp;amp;</pre></body>"),
        ("<plaintext>a</plaintext>b", "<body><pre>a&lt;/plaintext&gt;b</pre></body>"),
        ("<script><!--<script></script>--></script>a", "<body>a</body>"),
        ("<p><style>a</style>b<iframe>c</iframe>", "<body><p><style/>b<iframe/></p></body>"),
        ("x<template><script>a</script><p>b</template>", "<body>x<template><script/><p>b</p></template></body>"),
        ("<p>x<a<b>c</a<b>", "<body><p>x<unknown>c</unknown></p></body>"),
        ("<div><span>" * 2, "<body><div><span><div><span/></div></span></div></body>"),
    ],
)
def test_markup_is_read_as_browsers_read_it(page: str, body: str) -> None:
    assert tree(page) == body


def test_text_below_the_greatest_depth_stays_in_order() -> None:
    numbers = [*range(1_500)]
    page = "".join(f"<div>{number} " for number in numbers) + "".join(f"</div>{number} " for number in numbers)
    root = to_lxml(parse_html(page, MAX_ELEMENTS), MAX_ELEMENTS)
    assert "".join(root.itertext()).split() == [str(number) for number in numbers + numbers]
    assert max(sum(1 for _ in element.iterancestors()) for element in root.iter()) == html_tree.MAX_DEPTH


@pytest.mark.parametrize(
    ("page", "what"),
    [
        ("<p>a" * 80_000, "elements"),
        ("<table>" + "<tr><td>a" * 30_000, "elements"),
        ("a<br>" * 80_000, "elements"),
        ("<p " + " ".join(f"a{number}" for number in range(1_001)) + ">", "attributes in one tag"),
        ("<p/" + "/".join(f"a='>'b{number}" for number in range(1_001)) + ">", "attributes in one tag"),
        (("<p " + " ".join(f"a{number}" for number in range(999)) + ">") * 101, "attributes"),
        ("<x-y>" * 5_001, "elements nested in each other"),
        ("<div/>" * 5_001, "elements nested in each other"),
        ("<span a=/>" * 5_001, "elements nested in each other"),
        ("<select>" + "<OPTION>a</option>" * 10_000, "options look through"),
        ("<select>" + "<b>a</b>" * 40_000 + "<option>" * 1_000, "options look through"),
        ("<svg>" + "<g>" * 4_000 + "</x>" * 100_001, "end tags"),
        ("".join(f"<body a{number}>" for number in range(1_001)), "attributes in tags of html and body"),
        ("".join(f"<html a{number}><body b{number}>" for number in range(501)), "attributes in tags of html and body"),
        ("".join(f"<font a={number}>" for number in range(100)) + "<p>a" * 10_000, "opened again"),
        ("<title>" + "<p>" * 60_000 + "</title>" + "<p>" * 50_001, "elements"),
    ],
)
def test_a_page_of_too_much_work_reaches_no_parser(page: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_tree, "HTMLTree", None)
    for extractor in Extractor:
        with pytest.raises(ExtractionError, match=what):
            extract_page(page, extractor)


@pytest.mark.parametrize(
    "page",
    ["<div>" * 450 + "<a href=x>link</a> " * 3_000, "<a><div>x</a>" * 4_000, "<div>" * 500 + "word " * 500_000],
)
def test_links_and_text_that_are_looked_at_too_often_are_refused(page: str) -> None:
    with pytest.raises(ExtractionError, match="as often as deep"):
        extract_page(page, Extractor.trafilatura)


@pytest.mark.parametrize(
    "page",
    [
        "<!--" + "<p>" * 60_000 + "-->",
        "<script>" + "<p>" * 60_000 + "</script>",
        "<STYLE>" + "<p>" * 60_000 + "</Style >",
        "<p a='" + "<p>" * 60_000 + "'>",
        "<p a=b c>" * 40_000,
        "a < b " * 60_000,
        "<b>a</b>" * 20_000,
        "<p><b>" * 4_000,
        "<svg>" + "<path d='M 0 0'/>" * 20_000,
        "<br/>" * 20_000,
        "<select>" + "<option>a" * 5_000,
        "<plaintext>" + "<p>" * 60_000,
    ],
)
def test_what_is_no_element_does_not_count(page: str) -> None:
    check_markup(page.encode(), MAX_ELEMENTS)


def test_limits_are_settings() -> None:
    check_markup(b"<p>" * 10, 10)
    with pytest.raises(MarkupLimit, match="more than 9 elements"):
        check_markup(b"<p>" * 10, 9)
    with pytest.raises(MarkupLimit, match="parsed page has more than 2 elements"):
        to_lxml(parse_html("<p>a", 1), 2)


@pytest.mark.parametrize(
    "before",
    [
        "<svg><title>",
        "<svg><plaintext>",
        "<svg></select><style>",
        "<svg><foreignObject><div></svg></div></foreignObject><style>",
        "<math><mi></mi><textarea>",
        "<select><iframe>",
        "<script><!--<script></script><plaintext>--></script>",
        "<script><!--<script></script><title>--></script>",
    ],
)
def test_raw_text_that_a_parser_reads_as_markup_is_within_the_limits(before: str) -> None:
    attributes = " ".join(f"a{number}" for number in range(1001))
    for markup in (f"<p {attributes}>", f"<option {attributes}>"):
        with pytest.raises(MarkupLimit, match="attributes in one tag"):
            check_markup((before + markup).encode(), MAX_ELEMENTS)


@pytest.mark.parametrize(
    "raw",
    [
        "<title>{}</title>",
        "<script>{}</script>",
        "<script><!--<script>{}</script>{}--></script>",
        "<svg><title>a</title></svg><style>{}</style>",
        "<select><option>a</select><script>{}</script>",
        "<plaintext>{}",
    ],
)
def test_raw_text_is_no_markup(raw: str) -> None:
    check_markup(raw.replace("{}", "<p>" * 100).encode(), 10)
