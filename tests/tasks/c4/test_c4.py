"""C4's rules on made pages."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from infra.documents import apply_edits
from tasks.c4 import C4_SCHEMA, C4Config, apply_c4

GOOD = "The old mill stands by the river."
OTHER = "Nobody has ground any corn there since."


def page(*lines: str, **config: Any) -> tuple[str, dict[str, Any]]:
    """The text that stays of a page of those lines, and what is said of it."""
    batch = pa.table({"text": ["\n".join(lines)]})
    found = apply_c4(batch, C4Config.model_validate(config))
    assert found.schema == C4_SCHEMA
    [text] = apply_edits(batch["text"], found["edits"])[0].to_pylist()
    return text, found.to_pylist()[0]


@pytest.mark.parametrize(
    "line",
    [
        "A title without an end mark",
        "This one trails off into nothing...",
        "Too short a line.",
        f"One word is {'x' * 1001} and far too long.",
        "Please enable JavaScript to see all of this page.",
        "We wrote a new Cookie Policy for you to read.",
        "Only four words [12] here.",
    ],
)
def test_a_line_of_that_kind_is_struck(line: str) -> None:
    text, found = page(GOOD, line, OTHER)
    assert text == f"{GOOD}\n{OTHER}"
    assert (found["lines"], found["struck"], found["sentences"]) == (3, 1, 2)


def test_white_space_and_citations_go_and_nothing_else() -> None:
    text, _ = page(
        "", "  [1] \t" + GOOD, "", "Das Wasser [23] läuft noch immer über das Rad [edit]!\r", "\u2028" + OTHER + " "
    )
    assert text == f"{GOOD}\nDas Wasser  läuft noch immer über das Rad !\n{OTHER}"


def test_a_clean_page_has_no_edits() -> None:
    text, found = page(GOOD, OTHER)
    assert text == f"{GOOD}\n{OTHER}" and found["edits"] == []


def test_a_page_of_which_no_line_stays_is_struck_whole() -> None:
    assert page("one", "two")[0] == ""
    assert page("one")[1]["reason"] == "too_few_sentences"
    assert page("")[1] == {
        "edits": [], "reason": "too_few_sentences", "lines": 0, "struck": 0, "sentences": 0, "lorem_ipsum": 0,
        "curly_brackets": 0, "failed": None,
    }  # fmt: skip


def test_the_reason_is_the_first_in_the_order_of_lines() -> None:
    bracket = "Here a function { begins its long body."
    lorem = "Then Lorem Ipsum fills the page with words."
    assert page(GOOD, bracket, lorem)[1]["reason"] == "curly_bracket"
    assert page(GOOD, lorem, bracket)[1]["reason"] == "lorem_ipsum"
    assert page(GOOD, OTHER)[1]["reason"] == "too_few_sentences"
    assert page(GOOD, OTHER, GOOD)[1]["reason"] is None
    # What is struck before it is not looked at.
    assert page(GOOD, OTHER, GOOD, "no end mark {")[1]["reason"] is None


def test_thresholds_are_those_of_the_config() -> None:
    assert page("Two words.", min_words_per_line=2)[0] == "Two words."
    assert page(GOOD, min_sentences=1)[1]["reason"] is None
    assert page(GOOD, max_word_length=4)[0] == ""


def test_a_page_with_which_spacy_would_take_long_fails_where_its_sentences_are_counted() -> None:
    heavy = " ".join(["(" * 900] * 30) + " are five of such words."
    assert page(heavy, variant="datatrove")[1]["failed"] == "too_many_signs"
    assert page(heavy)[1]["failed"] is None


def test_datatrove_counts_citations_and_has_thresholds_of_its_own() -> None:
    line = "Only three [12] words."
    assert page(line)[0] == ""
    text, found = page(line, GOOD, "He said 'so it is'", variant="datatrove")
    assert text == f"Only three  words.\n{GOOD}\nHe said 'so it is'"
    assert (found["reason"], found["sentences"]) == ("too_few_sentences", 3)
