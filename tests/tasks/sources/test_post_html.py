"""Posts stored as HTML: all of their text, with code, lists and tables."""

from __future__ import annotations

import pytest

from tasks.sources.markup import MarkupLimit
from tasks.sources.post_html import post_text

CODE = "def f():\n    return  1\n\n\n\tif x < y: pass"
LIST = "- a\n- b\n\n- c\n  - d\ne\n\nf"


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<p>One <b>two</b>  three\nfour</p>\n\n<p>five<br>six</p>", "One two three four\n\nfive\nsix"),
        ("<p>a <em> b</em>c <a href='x'>d</a>.</p>", "a bc d."),
        (f"<p>a</p><pre><code>{CODE.replace('<', '&lt;')}\n</code></pre><p>b</p>", f"a\n\n{CODE}\n\nb"),
        ("<p>run <code>a  b</code> or <code>&lt;c&gt;</code></p>", "run a  b or <c>"),
        ("<ul>\n<li>a</li>\n<li><p>b</p>\n</li><li>c<ul><li>d</li></ul>e</li></ul><p>f</p>", LIST),
        ("<ol><li>a</li><li>b</li></ol><ol start='7'><li>c</li></ol>", "1. a\n2. b\n\n7. c"),
        ("<table><tr><th>A</th><th>B</th></tr><tr><td></td><td><p>1 <b>x</b></p></td></tr></table>", "A | B\n | 1 x"),
        ("<h2>a</h2><blockquote>\n  <p>b</p>\n</blockquote><hr><p>c</p>", "a\n\nb\n\nc"),
        ("a<script>alert(1)</script><style>p{}</style><!-- c -->b<img alt='x' src='y'>", "ab"),
        ("<p>never <b>closed <li>item", "never closed\n\n- item"),
        ("&amp;amp; &lt;p&gt; &copy; &#x41;", "&amp; <p> © A"),
        ("", ""),
        ("<p> </p>", ""),
    ],
)
def test_what_is_shown(markup: str, expected: str) -> None:
    assert post_text(markup) == expected


@pytest.mark.parametrize("markup", ["<p>" * 60_000, "<b>" * 6_000 + "a", "<p " + "a=b " * 2_000 + ">"])
def test_markup_beyond_the_limits_is_refused(markup: str) -> None:
    with pytest.raises(MarkupLimit):
        post_text(markup)


def test_deep_lists_and_quotes_are_read() -> None:
    assert post_text("<blockquote><ul><li>" * 300 + "a").endswith("- a")
