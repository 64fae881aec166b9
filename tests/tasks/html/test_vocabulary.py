"""The table of words, and the words that compiled code finds in classes and ids."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.html.vocabulary import ELEMENTS, MEANINGS, element_number, fnv1a, meanings_of


def test_every_word_has_one_meaning_and_every_meaning_a_bit() -> None:
    words = [word for line in MEANINGS for word in line.split()]
    assert len(MEANINGS) == 64 and len(set(words)) == len(words)
    assert [meanings(word) for word in words] == [[line.split()[0]] for line in MEANINGS for _ in line.split()]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("Side-Bar", {"sidebar"}),
        ("side_bar navBAR", {"sidebar", "nav"}),
        ("entryContent", {"post", "content"}),
        ("nav2menu", {"nav"}),
        ("navigations é x", set()),
        ("", set()),
    ],
)
def test_words_of_classes_and_ids(value: str, found: set[str]) -> None:
    assert set(meanings(value)) == found


def test_elements_are_found_by_their_names() -> None:
    assert [element_number(np.uint64(fnv1a(name))) for name in ELEMENTS[1:]] == list(range(1, len(ELEMENTS)))
    assert element_number(np.uint64(fnv1a("x-y"))) == 0


def meanings(value: str) -> list[str]:
    source = np.frombuffer(value.encode(), np.uint8)
    bits = int(meanings_of(source, 0, len(source)))
    return [line.split()[0] for bit, line in enumerate(MEANINGS) if bits >> bit & 1]
