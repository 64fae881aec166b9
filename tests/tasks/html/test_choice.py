"""The choice of blocks, and the text that is written of them."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np
import pytest

from tasks.html.choice import best_by_f1, main_text, text_of
from tasks.html.scan import END, START, Scan, scan
from tasks.sources.html_tree import parse_html, serialised
from tasks.sources.markup import MAX_ELEMENTS

PARAGRAPH = "The mill stands by the river, and its wheel has turned for three hundred years without a rest."


def scanned(page: str) -> Scan:
    return scan(serialised(parse_html(page, MAX_ELEMENTS))[0])


def written(page: str, dropped: tuple[str, ...] = ()) -> str:
    """The text when every block is sure, but for those that begin with one of `dropped`."""
    found = scanned(page)
    texts = [bytes(found.text[block[START] : block[END]]).decode() for block in found.blocks]
    return text_of(found, np.array([0.0 if text.startswith(dropped) else 1.0 for text in texts]))


@pytest.mark.parametrize("seed", range(20))
def test_the_best_blocks_by_brute_force(seed: int) -> None:
    """No set of blocks has a greater expected F1, as the ratio of expectations, within the limits of the threshold."""
    random = np.random.default_rng(seed)
    probabilities, widths = random.random(9).round(3), random.integers(1, 300, 9).astype(np.int32)

    def f1(kept: np.ndarray) -> float:
        return 2 * (probabilities * widths * kept).sum() / ((widths * kept).sum() + (probabilities * widths).sum())

    best = max(f1(np.array(kept)) for kept in itertools.product((0, 1), repeat=9) if any(kept))
    found = best_by_f1(probabilities, widths)
    assert f1(found) == pytest.approx(best) or best / 2 < 0.2


def test_a_page_of_doubt_is_not_empty() -> None:
    assert best_by_f1(np.full(10, 0.3), np.full(10, 100, np.int32)).all()
    assert not best_by_f1(np.full(10, 0.1), np.full(10, 100, np.int32)).any()


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<h1>Mill</h1><p>one<p>two", "Mill\none\ntwo"),
        ("<ul><li>one<li>two<ul><li>three</ul></ul>", "- one\n- two\n- three"),
        ("<ul><li>one<br>more<li>two", "- one\nmore\n- two"),
        ("<ul><li><p>one</p><p>more</p><li><div><p>two</p></div></ul>", "- one\nmore\n- two"),
        ("<ul><li>one<ul><li>two</ul>more<li>three", "- one\n- two\nmore\n- three"),
        ("<pre>x<ol><li>  a<li>b</ol></pre>", "x\n  a\nb"),
        ("<table><tr><td>a<br>b<td>c<tr><td>d<td><p>1</p><p>2</p></table>", "a b | c\nd | 1 2"),
        ("<table><tr><th><th>Jan<th>Feb<th>Mar<tr><th>x<td>1<td><td>3</table>", "| Jan | Feb | Mar\nx | 1 | | 3"),
        (
            "<table><tr><td>a<td><pre>x\n  y</pre><td>b<td>c<tr><td>d<td>e<td>f<td>g</table>",
            "a\nx\n  y\nb | c\nd | e | f | g",
        ),
        ("<table><tr><td><td>a<td><td>b<tr><td><td>c<td><td>d</table>", "a | b\nc | d"),  # columns for the look
        ("<table><tr><th>a<th>b<tr><td>1<td>2</table>c", "a | b\n1 | 2\nc"),
        ("<table><tr><td>a<tr><td>b</table>", "a\nb"),
        ("<p>x<pre>\n  a\n\tb</pre>y", "x\n  a\n\tb\ny"),
    ],
)
def test_blocks_are_lines_items_rows_and_listings(page: str, text: str) -> None:
    assert written(page) == text


def test_cells_in_cells_are_no_more_than_they_are() -> None:
    """Formulas may hold cells of the rows around them: text behind these is of an earlier cell."""
    nested = "".join(f"<td>{number}</td><mi>x</mi>" for number in range(300))
    text = written(f"<table><tr><td>a<td>b<tr><td>c<td><math><td>{nested}</td></math></table>")
    assert text.startswith("a | b\nc |") and text.count("|") == 1 + 302 and text.count("x") == 300


def test_all_kept_text_is_written_once_whatever_stands_in_what() -> None:
    pieces = (
        "<table> </table> <tr> <td> </td> <th> <caption> <math> </math> <mtext> <pre> </pre> <li> <ul> </ul> <p> <br>"
    )
    random = Random(4)
    for _ in range(1_000):
        page = "".join(random.choices([*pieces.split(), "a", "bb", "c d."], k=random.randrange(1, 80)))
        text = written(page).replace("|", "").replace("-", "")
        assert "".join(text.split()) == "".join(bytes(scanned(page).text).decode().split()), page


def test_a_listing_and_a_table_of_data_stay_or_go_as_a_whole() -> None:
    table = "<table><tr><td>wheel<td>12<tr><td>stone<td>9<tr><td>x<td>y</table>"
    assert written(f"a{table}b", dropped=("x", "y")) == "a\nwheel | 12\nstone | 9\nx | y\nb"
    # with the text on both sides
    assert written(f"a{table}b", dropped=("wheel", "12", "stone")) == "a\nwheel | 12\nstone | 9\nx | y\nb"
    assert written(f"a{table}", dropped=("wheel", "12", "stone")) == "a"
    assert written("a<pre>def f():<div>  pass</div>f()</pre>b", dropped=("def",)) == "a\ndef f():\n  pass\nf()\nb"
    # a table for the look is no table of data
    layout = f"<table><tr><td>nav<td>{PARAGRAPH}<tr><td>x<td>y</table>"
    assert written(layout, dropped=("nav", "x", "y")) == PARAGRAPH


def test_text_stays_and_what_stands_around_it_goes() -> None:
    links = "".join(f'<li><a href="/{n}">Topic {n}</a></li>' for n in range(12))
    page = (
        f'<body><nav class="menu"><ul>{links}</ul></nav><article><h1>The mill</h1>{"<p>" + PARAGRAPH + "</p>"}'
        f"<p>{PARAGRAPH}</p><pre>wheel = 1\nturn(wheel)</pre><p>{PARAGRAPH}</p></article>"
        f'<div class="related-posts"><ul>{links}</ul></div><footer>Copyright 2026 Mill Ltd</footer>'
    )
    text = main_text(scanned(page))
    assert text.count(PARAGRAPH) == 3 and "wheel = 1\nturn(wheel)" in text
    assert "Topic" not in text and "Copyright" not in text


def test_an_empty_page_has_no_text() -> None:
    assert main_text(scanned("")) == main_text(scanned("<script>x</script><img>")) == ""
