"""What is known of the blocks of small pages, value by value."""

from __future__ import annotations

import pytest

from tasks.html.context import CONTEXT, context_of
from tasks.html.features import BITS, NUMBERS, features_of
from tasks.html.scan import WIDTH, Scan, scan
from tasks.sources.html_tree import parse_html, serialised
from tasks.sources.markup import MAX_ELEMENTS

SENTENCE = "A mill stands at the river, and its wheel turns all day."
PAGE = (
    '<body class="menu"><nav class="top-links"><a>one</a><p><a>two</a></p></nav><div id="post"><h1>Mill</h1>'
    f'<div><p>{SENTENCE}</p><p class="lead"><i class="caption">{SENTENCE * 3}</i></p></div></div>'
    '<footer aria-hidden="true">Mill</footer>'
)


@pytest.fixture
def page() -> Scan:
    return scan(serialised(parse_html(PAGE, MAX_ELEMENTS))[0])


def test_numbers(page: Scan) -> None:
    rows = [dict(zip(NUMBERS, row.tolist(), strict=True)) for row in features_of(page).numbers]
    assert [row["width"] for row in rows] == page.blocks[:, WIDTH].tolist() == [3, 3, 4, 45, 135, 4]
    assert [row["in_links"] for row in rows] == [1, 1, 0, 0, 0, 0]
    assert [row["stops"] for row in rows][3] == pytest.approx(2 / 45)
    assert [row["end"] for row in rows] == [0, 0, 0, 2, 2, 0]
    # the nav with its two links; the inner div with its two paragraphs, then the post with its heading, then all
    assert [row["container_blocks"] for row in rows] == [6, 2, 3, 2, 2, 6]
    assert [row["container_2_blocks"] for row in rows] == [6, 6, 6, 3, 3, 6]
    assert [row["container_width"] for row in rows] == [194, 6, 184, 180, 180, 194]
    assert [row["container_links"] for row in rows][1] == 1
    assert [row["in_body"] for row in rows] == [0, 0, 0, 1, 1, 0]
    assert [row["body_prose"] for row in rows] == [1] * 6
    assert [row["levels_above_body"] for row in rows] == [2, 2, 1, 0, 0, 2]
    assert [row["blocks_from_body"] for row in rows] == [-3, -2, -1, 0, 0, 1]
    assert [row["blocks_from_heading"] for row in rows] == [-2, -1, 0, 1, 2, 3]
    assert [row["is_heading"] for row in rows] == [0, 0, 1, 0, 0, 1]
    assert [row["times"] for row in rows] == [1, 1, 2, 1, 1, 2]
    assert [row["hidden_from_readers"] for row in rows] == [0, 0, 0, 0, 0, 1]
    assert [row["blocks_since_link"] for row in rows] == [99, 0, 0, 1, 2, 3]
    assert [row["blocks_until_prose"] for row in rows] == [3, 2, 1, 0, 100, 99]
    assert rows[0]["page_width"] == 194 and rows[0]["page_blocks"] == 6 and rows[0]["page_prose"] == 180


def test_bits(page: Scan) -> None:
    found = [
        {BITS[64 * group + bit] for group in range(4) for bit in range(64) if int(row[group]) >> bit & 1}
        for row in features_of(page).bits
    ]
    # words of the body count only near to it
    assert found[1] == {"near nav", "in nav menu", "near header", "around header", "near link", "around link"}
    assert found[2] == {"near nav", "near post", "around post"}
    own = {"own lead", "near lead", "around lead", "own caption", "near caption", "around caption"}
    assert found[4] == own | {"near nav", "near post", "around post"}
    assert found[5] == {"near nav", "in footer"}


def test_context(page: Scan) -> None:
    features = features_of(page)
    probabilities = features.numbers[:, 0].astype(float) / 135
    found = context_of(probabilities, page.blocks, page.parents, features.owners, features.containers)
    rows = [dict(zip(CONTEXT, row.tolist(), strict=True)) for row in found]
    assert [row["probability"] for row in rows] == pytest.approx(probabilities)
    assert [row["probability_before_1"] for row in rows] == pytest.approx([-1, *probabilities[:-1]])
    assert [row["probability_behind_2"] for row in rows] == pytest.approx([*probabilities[2:], -1, -1])
    mean = sum(width * width / 135 for width in (45, 135)) / 180
    assert rows[3]["container_1_probability"] == pytest.approx(mean)
    mass = sum(width * width / 135 for width in (3, 3, 4, 45, 135, 4))
    assert rows[3]["container_1_share"] == pytest.approx(mean * 180 / mass)
    assert rows[0]["page_width_kept"] == pytest.approx(mass) and rows[0]["page_most"] == 1
    assert rows[0]["probability_of_30"] == pytest.approx(mass / 194)


def test_blocks_of_deep_and_wide_pages_all_have_features() -> None:
    """Pages whose blocks, all of them, stand below thousands of elements, or in many copies of an unclosed one."""
    for markup in ("<i>" * 4_000 + "a<br>" * 40_000, "<div>" * 4_000 + "<p>a" * 40_000, "<b><p>a" * 200):
        page = scan(serialised(parse_html(markup, MAX_ELEMENTS))[0])
        assert len(features_of(page).numbers) == len(page.blocks) == markup.count("a")
