"""Counts repeated n-grams of one document exactly: hash collisions do not merge n-grams."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from infra.compiled import njit

LONGEST = 10
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio (Knuth, TAOCP 3, section 6.4): spreads the keys


@njit(cache=True, nogil=True)
def repeated_character_counts(
    words: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count the characters that repeated n-grams cover, for n = 0 … 10 (the entries for n < 2 are 0).

    `words` holds the document's words as numbers from 0 without gaps, int64 [W]; `lengths` holds their lengths in
    characters, int64 [W]. Returns two arrays int64 [11]: the characters of the words that the most frequent n-gram
    covers, if it occurs at least twice (ties: most characters, then first), and the characters of the words that second
    and later occurrences of any n-gram cover. Time and memory are linear in W.
    """
    total = len(words)
    top = np.zeros(LONGEST + 1, np.int64)
    duplicate = np.zeros(LONGEST + 1, np.int64)
    slots = 16
    while slots < 2 * total:
        slots *= 2
    shift = np.uint64(64)
    size = slots
    while size > 1:
        size //= 2
        shift -= np.uint64(1)
    before = np.zeros(total + 1, np.int64)
    for position in range(total):
        before[position + 1] = before[position] + lengths[position]
    # The number of an n-gram follows from that of its first n-1 words and its last word: exact, one look-up each.
    names = words.copy()
    keys = np.empty(slots, np.int64)
    held = np.empty(slots, np.int64)
    counts = np.empty(total, np.int64)
    first = np.empty(total, np.int64)
    for n in range(2, LONGEST + 1):
        grams = total - n + 1
        if grams < 2:
            break
        keys[:] = -1
        distinct = 0
        covered_to = 0
        for position in range(grams):
            key = names[position] * total + words[position + n - 1]
            slot = np.int64((np.uint64(key) * _MULTIPLIER) >> shift)
            while keys[slot] != -1 and keys[slot] != key:
                slot = (slot + 1) & (slots - 1)
            if keys[slot] == -1:
                keys[slot] = key
                held[slot] = distinct
                counts[distinct] = 1
                first[distinct] = position
                distinct += 1
            else:
                counts[held[slot]] += 1
                begin = max(position, covered_to)
                duplicate[n] += before[position + n] - before[begin]
                covered_to = position + n
            names[position] = held[slot]
        best = 0
        for gram in range(1, distinct):
            size_here = before[first[gram] + n] - before[first[gram]]
            size_best = before[first[best] + n] - before[first[best]]
            if counts[gram] > counts[best] or (counts[gram] == counts[best] and size_here > size_best):
                best = gram
        if counts[best] >= 2:
            covered_to = 0
            for position in range(grams):
                if names[position] == best:
                    begin = max(position, covered_to)
                    top[n] += before[position + n] - before[begin]
                    covered_to = position + n
        if distinct == grams:
            break  # no longer n-gram can occur twice
    return top, duplicate
