"""XHTML for a parser of HTML."""

from __future__ import annotations

import pytest

from tasks.sources.xhtml import as_html


@pytest.mark.parametrize(
    ("markup", "written"),
    [
        ("<title/>a", "<title></title>a"),
        ("<br/><img src='a/b' alt=\">\"/>", "<br><img src='a/b' alt=\">\">"),
        ("<svg:a xlink:href='x'/>", "<svg:a xlink:href='x'></svg:a>"),
        ("<!-- <title/> --><a href=x/y>b</a>", "<!-- <title/> --><a href=x/y>b</a>"),
        ("<p><![CDATA[1 < 2 & ]]></p>", "<p>1 &lt; 2 &amp; </p>"),
        ("a < b/>c <1/>", "a < b/>c <1/>"),
    ],
)
def test_what_html_reads_in_another_way(markup: str, written: str) -> None:
    assert as_html(markup) == written


@pytest.mark.parametrize("attack", ["<a ", "<a b='", '<a "', "<![CDATA[", "<!--", "<a/", "<a /"])
def test_the_work_is_linear(attack: str) -> None:
    """A pattern that looked at the rest of the page from every start would not end."""
    assert as_html(attack * 300_000).startswith(attack.strip())
