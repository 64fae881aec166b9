"""Where the tokens of a text are: runs without white space, and in scripts without spaces single characters."""

from __future__ import annotations

import functools
import sys

import numpy as np

from infra.compiled import njit
from tasks.text.words import word_classes

_WIDTH_TWO, _WIDTH_THREE, _WIDTH_FOUR = 0x80, 0x800, 0x10000  # UTF-8 (RFC 3629, section 3)


def token_spans(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The hash of each token (uint64), and the UTF-8 byte offsets where it starts and ends (int64); case counts."""
    return _token_spans(np.frombuffer(text.encode("utf-32-le"), np.uint32), _classes())


@functools.cache
def _classes() -> np.ndarray:
    """For every code point, 0 for white space, 2 for a token of its own, 1 for others: uint8, shape (0x110000,)."""
    table = np.ones(sys.maxunicode + 1, np.uint8)
    table[[code for code in range(0x3001) if chr(code).isspace()]] = 0
    table[word_classes() == 2] = 2
    table.flags.writeable = False
    return table


@njit(cache=True)
def _token_spans(codes: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hashes = np.empty(codes.size, np.uint64)
    starts = np.empty(codes.size, np.int64)
    ends = np.empty(codes.size, np.int64)
    count = 0
    at = 0
    inside = False
    state = np.uint64(0)
    for code in codes:
        kind = classes[code]
        if inside and kind != 1:
            hashes[count], ends[count] = state, at
            count += 1
            inside = False
        width = 1 if code < _WIDTH_TWO else 2 if code < _WIDTH_THREE else 3 if code < _WIDTH_FOUR else 4
        if kind != 0:
            if not inside:
                state = np.uint64(0xCBF29CE484222325)  # FNV-1a
                starts[count] = at
            state = (state ^ np.uint64(code)) * np.uint64(0x100000001B3)
            if kind == 2:
                hashes[count], ends[count] = state, at + width
                count += 1
            else:
                inside = True
        at += width
    if inside:
        hashes[count], ends[count] = state, at
        count += 1
    return hashes[:count].copy(), starts[:count].copy(), ends[:count].copy()
