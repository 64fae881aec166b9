"""Counts repeated n-grams of one document exactly: hash collisions do not merge n-grams."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from infra.compiled import njit

LONGEST = 10
# What counts as covered by repeated n-grams, see `repeated_character_counts`.
LATER_COPIES, ALL_COPIES, MOST_FREQUENT = 0, 1, 2
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio (Knuth, TAOCP 3, section 6.4): spreads the keys
_PRIME_1, _PRIME_2 = np.uint64(2147483647), np.uint64(2147483629)  # the two largest primes below 2^31
_BASE_1, _BASE_2 = np.uint64(1103515245), np.uint64(1664525)


@njit(cache=True, nogil=True)
def repeated_character_counts(
    words: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], mode: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count the characters of repeated n-grams, for n = 0 … 10 (the entries for n < 2 are 0).

    `words` holds the document's words as numbers from 0 without gaps, int64 [W]; `lengths` holds their lengths in
    characters, int64 [W]. Returns two arrays int64 [11], about the most frequent n-gram and about all repeated ones. A
    word that several n-grams cover counts once. Time and memory are linear in W. By `mode`:

    - `LATER_COPIES`: the characters of the words that the most frequent n-gram covers, if it occurs at least twice
      (ties: most characters, then first); those that second and later occurrences of any n-gram cover;
    - `ALL_COPIES`: the characters of the most frequent n-gram times its occurrences, if it occurs at least twice (ties:
      first); those that all occurrences of n-grams that occur twice cover;
    - `MOST_FREQUENT`: for n up to 4, the characters of the most frequent n-gram and of the n-1 spaces in it, times its
      occurrences, also if it occurs once (ties: first); nothing.
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
    for n in range(2, (4 if mode == MOST_FREQUENT else LONGEST) + 1):
        grams = total - n + 1
        if grams < (1 if mode == MOST_FREQUENT else 2):
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
                if mode == LATER_COPIES:
                    begin = max(position, covered_to)
                    duplicate[n] += before[position + n] - before[begin]
                    covered_to = position + n
            names[position] = held[slot]
        best = 0
        for gram in range(1, distinct):
            size_here = before[first[gram] + n] - before[first[gram]]
            size_best = before[first[best] + n] - before[first[best]]
            longer = mode == LATER_COPIES and size_here > size_best
            if counts[gram] > counts[best] or (counts[gram] == counts[best] and longer):
                best = gram
        size_best = before[first[best] + n] - before[first[best]]
        if mode == MOST_FREQUENT:
            top[n] = (size_best + n - 1) * counts[best]
        elif mode == ALL_COPIES:
            if counts[best] >= 2:
                top[n] = size_best * counts[best]
            for position in range(grams):
                if counts[names[position]] >= 2:
                    begin = max(position, covered_to)
                    duplicate[n] += before[position + n] - before[begin]
                    covered_to = position + n
        elif counts[best] >= 2:
            covered_to = 0
            for position in range(grams):
                if names[position] == best:
                    begin = max(position, covered_to)
                    top[n] += before[position + n] - before[begin]
                    covered_to = position + n
        if distinct == grams and mode != MOST_FREQUENT:
            break  # no longer n-gram can occur twice
    return top, duplicate


@njit(cache=True, nogil=True)
def consumed_character_counts(points: npt.NDArray[np.uint32], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Count the characters of later copies of n-grams for n = 5 … 10, where a copy that is found is passed over.

    `points` holds the words without anything between them, uint32; word i is ``points[offsets[i] : offsets[i + 1]]``,
    int64 [W + 1]. From the left: an n-gram whose characters are those of an earlier one counts, and the search goes on
    behind it; another one is remembered, and the search goes on at the next word. N-grams are compared as characters
    without word boundaries: "a bc" equals "ab c". Returns int64 [11]; the entries for n < 5 are 0.
    """
    total = len(offsets) - 1
    found = np.zeros(LONGEST + 1, np.int64)
    one = np.zeros(len(points) + 1, np.uint64)
    two = np.zeros(len(points) + 1, np.uint64)
    power_1 = np.ones(len(points) + 1, np.uint64)
    power_2 = np.ones(len(points) + 1, np.uint64)
    for place in range(len(points)):
        code = np.uint64(points[place]) + np.uint64(1)
        one[place + 1] = (one[place] * _BASE_1 + code) % _PRIME_1
        two[place + 1] = (two[place] * _BASE_2 + code) % _PRIME_2
        power_1[place + 1] = power_1[place] * _BASE_1 % _PRIME_1
        power_2[place + 1] = power_2[place] * _BASE_2 % _PRIME_2
    slots = 16
    while slots < 2 * total:
        slots *= 2
    keys = np.empty(slots, np.uint64)
    held = np.empty(slots, np.int64)
    for n in range(5, LONGEST + 1):
        held[:] = -1
        word = 0
        while word + n <= total:
            start, end = offsets[word], offsets[word + n]
            length = end - start
            low = (one[end] + _PRIME_1 - one[start] * power_1[length] % _PRIME_1) % _PRIME_1
            high = (two[end] + _PRIME_2 - two[start] * power_2[length] % _PRIME_2) % _PRIME_2
            key = (high << np.uint64(32)) | low
            slot = np.int64((key * _MULTIPLIER) >> np.uint64(16)) & (slots - 1)
            copy = False
            while held[slot] != -1 and not copy:
                if keys[slot] == key:
                    other = held[slot]
                    if offsets[other + n] - offsets[other] == length:
                        place = 0
                        while place < length and points[offsets[other] + place] == points[start + place]:
                            place += 1
                        copy = place == length
                if not copy:
                    slot = (slot + 1) & (slots - 1)
            if copy:
                found[n] += length
                word += n
            else:
                keys[slot] = key
                held[slot] = word
                word += 1
    return found
