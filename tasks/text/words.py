"""The words of a text by which documents are compared, as hashes or as joined UTF-8.

A word is a run of Unicode letters, digits and underscores (``\\w``) of the case-folded text, with the combining marks
behind them: without marks, many words of Hindi or Arabic would be the same. All other characters only separate words.
In scripts that are written without spaces, every character is a word: otherwise a Chinese sentence would be one word,
and an edited copy of a text would share few words with it.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata

import numpy as np

from infra.compiled import njit
from tasks.text.mixing import mix

# Blocks of scripts without spaces between words (Unicode 15.1, Blocks.txt; chapters 16 to 18 of the standard).
UNSPACED_BLOCKS = (
    *((0x0E00, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF)),  # Thai, Lao, Tibetan, Myanmar, Khmer
    *((0x1950, 0x19DF), (0x1A20, 0x1AAF), (0x1B00, 0x1B7F)),  # Tai Le, New Tai Lue, Tai Tham, Balinese
    *((0xA980, 0xA9FF), (0xAA60, 0xAADF)),  # Javanese, Myanmar extended, Tai Viet
    *((0x3005, 0x3007), (0x3021, 0x3029), (0x3040, 0x312F), (0x31A0, 0x31FF)),  # kana, bopomofo
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA4CF), (0xF900, 0xFAFF)),  # Han, Yi
    *((0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F), (0x20000, 0x3FFFF)),  # narrow katakana, kana supplement, Han extensions
)
_SEPARATOR, _PART, _WHOLE, _MARK = 0, 1, 2, 3
_WIDER = (0x80, 0x800, 0x10000)  # from these code points on, UTF-8 takes a byte more (RFC 3629, section 3)


def hash_words(text: str) -> np.ndarray:
    """A 64-bit hash of every word of a text, in order: uint64, shape (words,).

    It is FNV-1a (Fowler, Noll, Vo) over code points, finished by `tasks.text.mixing`.
    """
    return _find_words(_codes(text.casefold()), word_classes())[0].copy()


def word_spans(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The hash of each word (uint64), as `hash_words`, and the UTF-8 byte offsets where it starts and ends (int64).

    The hash is of the case-folded word, the offsets are those in the text itself.
    """
    own, codes = _codes(text), _codes(text.casefold())
    offsets = np.zeros(own.size + 1, np.int64)
    np.cumsum(1 + sum((own >= first).astype(np.int64) for first in _WIDER), out=offsets[1:])
    hashes, firsts, lasts = _find_words(codes, word_classes())
    if codes.size != own.size:  # case folding makes some characters two or three: ß is ss
        origin = np.repeat(np.arange(own.size), [len(character.casefold()) for character in text])
        firsts, lasts = origin[firsts], origin[lasts]
    return hashes.copy(), offsets[firsts], offsets[lasts + 1]


def join_words(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The words joined by spaces in UTF-8 (uint8), and where each word starts and ends in it (int64, int64)."""
    return _join_words(_codes(text.casefold()), word_classes())


@functools.cache
def word_classes() -> np.ndarray:
    """For every code point, 0 if it separates words, 1 if it is part of one, 2 if it is one: uint8, (0x110000,).

    3 is a combining mark, which is part of the word before it, and by itself none.
    """
    every = np.arange(sys.maxunicode + 1, dtype=np.uint32).tobytes().decode("utf-32-le", "surrogatepass")
    table = np.full(len(every), _SEPARATOR, np.uint8)
    for run in re.finditer(r"\w+", every):
        table[run.start() : run.end()] = _PART
    marks = [code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("M")]
    table[marks] = _MARK
    for first, last in UNSPACED_BLOCKS:
        block = table[first : last + 1]
        block[block != _SEPARATOR] = _WHOLE
    table.flags.writeable = False
    return table


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


@njit(cache=True)
def _find_words(codes: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The hashes of the words (uint64), and the places of their first and last code points (int32)."""
    hashes = np.empty(codes.size, np.uint64)
    firsts = np.empty(codes.size, np.int32)
    lasts = np.empty(codes.size, np.int32)
    words = 0
    inside = False
    state = np.uint64(0)
    for index in range(codes.size):
        code = codes[index]
        kind = classes[code]
        if kind == 3:
            kind = 1 if inside else 0
        if inside and kind != 1:
            hashes[words] = mix(state)
            words += 1
            inside = False
        if kind == 0:
            continue
        if not inside:
            state = np.uint64(0xCBF29CE484222325)
            firsts[words] = index
        state = (state ^ np.uint64(code)) * np.uint64(0x100000001B3)
        lasts[words] = index
        if kind == 2:
            hashes[words] = mix(state)
            words += 1
        else:
            inside = True
    if inside:
        hashes[words] = mix(state)
        words += 1
    return hashes[:words], firsts[:words], lasts[:words]


@njit(cache=True)
def _join_words(codes: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # A word of one character in a script without spaces needs a space of its own.
    buffer = np.empty(5 * codes.size, np.uint8)
    starts = np.empty(codes.size, np.int64)
    ends = np.empty(codes.size, np.int64)
    words = 0
    size = 0
    inside = False
    for code in codes:
        kind = classes[code]
        if kind == 3:
            kind = 1 if inside else 0
        if inside and kind != 1:
            ends[words] = size
            words += 1
            inside = False
        if kind == 0:
            continue
        if not inside:
            if words > 0:
                buffer[size] = 0x20
                size += 1
            starts[words] = size
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
        if kind == 2:
            ends[words] = size
            words += 1
        else:
            inside = True
    if inside:
        ends[words] = size
        words += 1
    return buffer[:size], starts[:words], ends[:words]
