"""Sentences of a line, by Punkt."""

from __future__ import annotations

import pytest

from tasks.c4 import sentences
from tasks.c4.sentences import count_sentences


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("", 0),
        ("One sentence.", 1),
        ("One. Two! Three?", 3),
        ("Dr. Smith met Mrs. Jones at 5 p.m. on Sept. 3.", 1),  # abbreviations
        ("She moved to the U.S. in May. He stayed.", 2),  # "U.S." before a word in lower case
        ('He said "Go." Then he left.', 2),  # closing marks
        ('"Who goes there?"', 1),
        ("J. S. Bach wrote it.", 1),  # initials
        ("It was in 1984. Nobody knew.", 2),
        ("Wait ... what?", 1),  # dots before lower case
        ("No end at all", 1),
        ("A  .  B", 2),
    ],
)
def test_sentences_are_counted_as_nltk_counts_them(line: str, count: int) -> None:
    """The numbers are those of NLTK 3.8.1 with its English parameters."""
    assert count_sentences(line) == count


def test_what_is_remembered_is_short() -> None:
    """Where no-break spaces separate words, what decides about one mark is as long as the text."""
    sentences._breaks_within.cache_clear()
    assert count_sentences("a\u00a0b.\u00a0" * 1000) >= 1
    assert sentences._breaks_within.cache_info().currsize == 0
    assert count_sentences("One. Two.") == 2
    assert sentences._breaks_within.cache_info().currsize > 0
