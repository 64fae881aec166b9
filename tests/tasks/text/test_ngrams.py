from collections import Counter

import hypothesis
import numpy as np
from hypothesis import strategies

from tasks.text.ngrams import LONGEST, repeated_character_counts


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


def counted(words: list[str]) -> tuple[list[int], list[int]]:
    numbers: dict[str, int] = {}
    numbered = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int64)
    top, duplicate = repeated_character_counts(numbered, np.array([len(word) for word in words], np.int64))
    return top.tolist(), duplicate.tolist()


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
