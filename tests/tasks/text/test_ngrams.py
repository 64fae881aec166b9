from collections import Counter

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from tasks.text.characters import code_points
from tasks.text.ngrams import (
    ALL_COPIES,
    LATER_COPIES,
    LONGEST,
    MOST_FREQUENT,
    consumed_character_counts,
    repeated_character_counts,
)


def counted_by_name(words: list[str]) -> tuple[list[int], list[int]]:
    """The same counts from tuples of words in a dictionary and sets of covered positions."""
    top, duplicate = [0] * (LONGEST + 1), [0] * (LONGEST + 1)
    for n in range(2, LONGEST + 1):
        grams = [tuple(words[position : position + n]) for position in range(len(words) - n + 1)]
        counts = Counter(grams)
        if counts:
            most = max(counts, key=lambda gram: (counts[gram], sum(map(len, gram)), -grams.index(gram)))
            if counts[most] > 1:
                covered = {p + k for p, gram in enumerate(grams) if gram == most for k in range(n)}
                top[n] = sum(len(words[position]) for position in covered)
        later = {p + k for p, gram in enumerate(grams) if gram in grams[:p] for k in range(n)}
        duplicate[n] = sum(len(words[position]) for position in later)
    return top, duplicate


def counted(words: list[str], mode: int = LATER_COPIES) -> tuple[list[int], list[int]]:
    numbers: dict[str, int] = {}
    numbered = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int64)
    top, duplicate = repeated_character_counts(numbered, np.array([len(word) for word in words], np.int64), mode)
    return top.tolist(), duplicate.tolist()


def other_counts(words: list[str], mode: int) -> tuple[list[int], list[int]]:
    """The counts of the other modes, in the same way."""
    top, duplicate = [0] * (LONGEST + 1), [0] * (LONGEST + 1)
    for n in range(2, (4 if mode == MOST_FREQUENT else LONGEST) + 1):
        grams = [tuple(words[position : position + n]) for position in range(len(words) - n + 1)]
        counts = Counter(grams)
        if counts:
            most, times = counts.most_common(1)[0]
            if mode == MOST_FREQUENT:
                top[n] = len(" ".join(most)) * times
            elif times > 1:
                top[n] = sum(map(len, most)) * times
        if mode == ALL_COPIES:
            covered = {p + k for p, gram in enumerate(grams) if counts[gram] > 1 for k in range(n)}
            duplicate[n] = sum(len(words[position]) for position in covered)
    return top, duplicate


def consumed(words: list[str], n: int) -> int:
    """Copies of joined n-grams that are passed over, with strings in a set."""
    seen: set[str] = set()
    found = place = 0
    while place + n <= len(words):
        gram = "".join(words[place : place + n])
        found, place = (found + len(gram), place + n) if gram in seen else (found, place + 1)
        seen.add(gram)
    return found


WORDS = strategies.lists(strategies.sampled_from(["a", "bb", "ccc", "ab", "c", "日"]), max_size=60)


@pytest.mark.parametrize("mode", [ALL_COPIES, MOST_FREQUENT])
@hypothesis.settings(deadline=None)  # the first example pays for tables or compilation
@hypothesis.given(words=WORDS)
def test_other_modes_equal_a_dictionary_of_tuples(mode: int, words: list[str]) -> None:
    assert counted(words, mode) == other_counts(words, mode)


@hypothesis.settings(deadline=None)  # the first example pays for tables or compilation
@hypothesis.given(WORDS)
def test_consumed_copies_equal_a_set_of_strings(words: list[str]) -> None:
    offsets = np.cumsum([0, *map(len, words)], dtype=np.int64)
    found = consumed_character_counts(code_points("".join(words)), offsets)
    assert found.tolist() == [0] * 5 + [consumed(words, n) for n in range(5, LONGEST + 1)]


@hypothesis.settings(deadline=None)  # the first example pays for tables or compilation
@hypothesis.given(strategies.lists(strategies.sampled_from(["a", "bb", "ccc", "dd", "e"]), max_size=60))
def test_counts_equal_a_dictionary_of_tuples(words: list[str]) -> None:
    assert counted(words) == counted_by_name(words)


def test_random_prose_of_real_length() -> None:
    random = np.random.default_rng(7)
    words = [f"w{number}" for number in random.zipf(1.3, 1500).clip(max=400)]
    words += words[200:260]
    assert counted(words) == counted_by_name(words)
    assert all(counted(words)[1][2:])


def test_short_documents_have_no_repetition() -> None:
    for words in ([], ["a"], ["a", "a"]):
        assert counted(words) == ([0] * (LONGEST + 1), [0] * (LONGEST + 1))
