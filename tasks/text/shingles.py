"""Shingles: the word n-grams by which near-duplicates are compared. Signatures and exact Jaccard share them."""

from __future__ import annotations

import functools
import re
import sys

import numpy as np

from infra.compiled import njit
from tasks.text.sha1 import sha1_prefixes


def hash_shingles(text: str, width: int) -> np.ndarray:
    """Compute a 64-bit hash of every shingle of a text, in text order, repeated ones included.

    The words are ``re.findall(r"\\w+", text.lower())``: runs of Unicode letters, digits and underscores, in lower case;
    all other characters only separate words. A shingle is `width` consecutive words joined by one space, in UTF-8. A
    text with fewer words has one shingle, of all its words; a text without words has none.

    The hash is the first 8 bytes of the shingle's SHA-1 digest, little-endian (`tasks.text.sha1`): uint64, shape (words
    - width + 1,).
    """
    codes = np.frombuffer(text.lower().encode("utf-32-le"), np.uint32)
    buffer, starts, ends = _join_words(codes, _word_characters())
    if starts.size <= width:
        return sha1_prefixes(buffer, starts[:1], ends[-1:])
    return sha1_prefixes(buffer, starts[: starts.size - width + 1], ends[width - 1 :])


def shingle_set(text: str, width: int) -> np.ndarray:
    """The distinct hashes of a text's shingles (see `hash_shingles`), ascending: uint64, shape (n,).

    Two shingles of one text collide with a probability of n² / 2⁶⁵, so the Jaccard index over these sets is exact for
    every text that fits in memory.
    """
    return np.unique(hash_shingles(text, width))


def count_common(left: np.ndarray, right: np.ndarray) -> int:
    """The number of common values of two ascending uint64 arrays of distinct values."""
    return int(_count_common(left, right))


@functools.cache
def _word_characters() -> np.ndarray:
    """For every code point, 1 if ``\\w`` matches it, else 0: uint8, shape (0x110000,)."""
    every = np.arange(sys.maxunicode + 1, dtype=np.uint32).tobytes().decode("utf-32-le", "surrogatepass")
    table = np.zeros(len(every), np.uint8)
    for run in re.finditer(r"\w+", every):
        table[run.start() : run.end()] = 1
    table.flags.writeable = False
    return table


@njit(cache=True)
def _join_words(codes: np.ndarray, word: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join the words of a text (uint32 code points) by spaces, in UTF-8; and return where each word starts and ends."""
    buffer = np.empty(4 * codes.size, np.uint8)
    starts = np.empty((codes.size + 1) // 2, np.int64)
    ends = np.empty((codes.size + 1) // 2, np.int64)
    words = 0
    size = 0
    inside = False
    for code in codes:
        if word[code]:
            if not inside:
                if words > 0:
                    buffer[size] = 0x20
                    size += 1
                starts[words] = size
                inside = True
            if code < 0x80:
                buffer[size] = code
                size += 1
            elif code < 0x800:
                buffer[size] = 0xC0 | (code >> 6)
                buffer[size + 1] = 0x80 | (code & 0x3F)
                size += 2
            elif code < 0x10000:
                buffer[size] = 0xE0 | (code >> 12)
                buffer[size + 1] = 0x80 | ((code >> 6) & 0x3F)
                buffer[size + 2] = 0x80 | (code & 0x3F)
                size += 3
            else:
                buffer[size] = 0xF0 | (code >> 18)
                buffer[size + 1] = 0x80 | ((code >> 12) & 0x3F)
                buffer[size + 2] = 0x80 | ((code >> 6) & 0x3F)
                buffer[size + 3] = 0x80 | (code & 0x3F)
                size += 4
        elif inside:
            ends[words] = size
            words += 1
            inside = False
    if inside:
        ends[words] = size
        words += 1
    return buffer[:size], starts[:words], ends[:words]


@njit(cache=True)
def _count_common(left: np.ndarray, right: np.ndarray) -> int:
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
