"""How similar two texts are, by the hashes of their words (`tasks.text.words`).

An n-gram is `width` consecutive words; a text with fewer words has one, of all its words. It is hashed to 64 bits, so
two of the n-grams of a pair of texts collide with a probability of n² / 2⁶⁵.
"""

from __future__ import annotations

import numpy as np

from infra.compiled import njit
from tasks.text.mixing import mix


@njit(cache=True)
def ngram_set(words: np.ndarray, width: int) -> np.ndarray:
    """The distinct hashes of a text's n-grams, ascending: uint64. `words`: uint64."""
    if words.size == 0:
        return np.empty(0, np.uint64)
    found = np.sort(ngram_hashes(words, width))
    kept = 1
    for index in range(1, found.size):
        if found[index] != found[kept - 1]:
            found[kept] = found[index]
            kept += 1
    return found[:kept].copy()


@njit(cache=True)
def ngram_hashes(words: np.ndarray, width: int) -> np.ndarray:
    """The hashes of a text's n-grams in text order, repeated ones included: uint64. `words`: uint64, at least one."""
    taken = min(width, words.size)
    found = np.empty(words.size - taken + 1, np.uint64)
    for index in range(found.size):
        state = np.uint64(taken)
        for word in words[index : index + taken]:
            # Mixed after each word, so that the order of the words counts.
            state = mix((state + np.uint64(0x9E3779B97F4A7C15)) ^ word)
        found[index] = state
    return found


@njit(cache=True)
def count_common(left: np.ndarray, right: np.ndarray) -> int:
    """The number of common values of two ascending uint64 arrays of distinct values."""
    if left.size > right.size:
        left, right = right, left
    if left.size * 16 < right.size:
        found = 0
        for value in left:
            at = np.searchsorted(right, value)
            if at < right.size and right[at] == value:
                found += 1
        return found
    common = 0
    i = 0
    j = 0
    while i < left.size and j < right.size:
        if left[i] == right[j]:
            common += 1
            i += 1
            j += 1
        elif left[i] < right[j]:
            i += 1
        else:
            j += 1
    return common


@njit(cache=True)
def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """|A ∩ B| / |A ∪ B| of two sets of n-grams; 0 when both are empty."""
    common = count_common(left, right)
    union = left.size + right.size - common
    return common / union if union else 0.0


@njit(cache=True)
def contained(
    words: np.ndarray, grams: np.ndarray, other_words: np.ndarray, other_grams: np.ndarray, width: int
) -> float:
    """The share of the text's n-grams that stand in the other text; 1 for a text without words.

    `grams` are the texts' sets of n-grams. A text with fewer than `width` words is looked for as one n-gram of its own
    length.
    """
    if words.size == 0:
        return 1.0
    if words.size < width and other_words.size >= words.size:
        return count_common(grams, ngram_set(other_words, words.size)) / grams.size
    return count_common(grams, other_grams) / grams.size
