"""Hashes the lines of a column of texts as cc_net does: normalised, in one compiled pass over their UTF-8."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.compiled import njit
from tasks.text.normalise import DELETED, hashing_codes
from tasks.text.sha1 import sha1_prefixes

_SIGMA = "\u03a3"
_DOTTED_I = "\u0130"
_LINE_FEED = ord("\n")
_AT_ONCE = 1 << 20
U32: Any = np.uint32
U64: Any = np.uint64
_WHITE = U32(1 << 31)
_GONE = U32(0x7FFFFFFF)


@dataclass(frozen=True)
class Lines:
    """All lines of a column, in order, as byte offsets into the document's text; the end excludes the line feed.

    `hash` is the first eight bytes of the SHA-1 of the line when it is stripped and normalised (`hashing_codes`),
    little-endian. A text that is empty has no lines.
    """

    document: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    hash: npt.NDArray[np.uint64]


def hash_lines(texts: pa.ChunkedArray) -> Lines:
    """The lines of a column of strings. Work and memory are linear in its bytes."""
    return _joined(texts, lambda found: found)


def hash_paragraphs(texts: pa.ChunkedArray) -> Lines:
    """The same for paragraphs: runs of lines between blank ones, hashed with a line feed between two lines.

    A text of blank lines is one paragraph, which is hashed as an empty line.
    """
    return _joined(texts, _paragraphs)


@dataclass(frozen=True)
class _Found:
    """Document, start and end of each line, whether it is blank, and where it begins and stops in `buffer`."""

    document: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    blank: npt.NDArray[np.bool_]
    begins: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]
    buffer: npt.NDArray[np.uint8]


def _joined(texts: pa.ChunkedArray, units: Callable[[_Found], _Found]) -> Lines:
    columns: list[list[npt.NDArray[Any]]] = [[np.empty(0, np.int64)] for _ in range(3)] + [[np.empty(0, np.uint64)]]
    first = 0
    for chunk in texts.chunks:
        found = units(_chunk_lines(chunk))
        hashes = _hash(found.buffer, found.begins, found.stops)
        for column, values in zip(columns, (found.document + first, found.start, found.end, hashes), strict=True):
            column.append(values)
        first += len(chunk)
    return Lines(*[np.concatenate(column) for column in columns])


def _chunk_lines(texts: pa.Array) -> _Found:
    texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64, len(texts) + 1, offset=8 * texts.offset)
    whole = np.frombuffer(data, np.uint8)[: ends[-1]] if data is not None else np.empty(0, np.uint8)
    return _Found(*_normalise(_with_small_sigmas(whole, ends), ends, _characters()))


def _paragraphs(lines: _Found) -> _Found:
    """The paragraphs that lines make: the normalised ones stand in the buffer with a line feed behind each."""
    opening = np.diff(lines.document, prepend=-1) != 0
    closing = np.append(opening[1:], True)[: len(opening)]
    # A text without a line that is not blank is a paragraph from its first line on.
    first_lines = np.flatnonzero(opening)
    empty = np.add.reduceat(~lines.blank, first_lines, dtype=np.int64) == 0 if len(first_lines) else opening
    alone = np.zeros(len(opening), bool)
    alone[first_lines[empty]] = True
    last_lines = np.flatnonzero(closing)
    before = opening | np.append(True, lines.blank[:-1])[: len(opening)]
    behind = closing | np.append(lines.blank[1:], True)[: len(opening)]
    first = np.flatnonzero(~lines.blank & before | alone)
    last = np.flatnonzero(~lines.blank & behind | alone)
    end = lines.end[last]
    end[alone[first]] = lines.end[last_lines[empty]]
    document, start = lines.document[first], lines.start[first]
    return _Found(document, start, end, lines.blank[first], lines.begins[first], lines.stops[last], lines.buffer)


def _hash(
    buffer: npt.NDArray[np.uint8], begins: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint64]:
    hashes = np.empty(len(begins), np.uint64)
    first = 0
    while first < len(begins):
        # The kernel takes four bytes of memory for each byte that it is given.
        last = max(int(np.searchsorted(stops, begins[first] + _AT_ONCE, side="right")), first + 1)
        # It hashes slices in groups, and a group takes as long as its longest one, in blocks of 64 bytes.
        blocks = np.minimum((stops[first:last] - begins[first:last]) >> 6, 0xFFFF).astype(np.uint16)
        order = first + np.argsort(blocks, kind="stable")
        base, end = begins[first], stops[last - 1]
        hashes[order] = sha1_prefixes(buffer[base:end], begins[order] - base, stops[order] - base)
        first = last
    return hashes


def _with_small_sigmas(data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """The same bytes with each capital sigma in lower case, whose form depends on its neighbours (`str.lower`)."""
    large = _SIGMA.encode()
    places = np.flatnonzero(data[:-1] == large[0])
    places = places[data[places + 1] == large[1]]
    if not len(places):
        return data
    small = data.copy()
    for row in np.unique(np.searchsorted(ends, places, side="right") - 1):
        text = data[ends[row] : ends[row + 1]].tobytes().decode()
        # This one letter has two in lower case; all others have one each.
        text = text.replace(_DOTTED_I, _DOTTED_I.lower())
        forms = [lower for letter, lower in zip(text, text.lower(), strict=True) if letter == _SIGMA]
        inside = places[(places >= ends[row]) & (places < ends[row + 1])]
        written = np.frombuffer("".join(forms).encode(), np.uint8).reshape(-1, 2)
        small[inside], small[inside + 1] = written[:, 0], written[:, 1]
    return small


@functools.cache
def _characters() -> npt.NDArray[np.uint32]:
    """For every code point, what stands for it (`hashing_codes`), and whether `str.strip` removes it (`_WHITE`)."""
    codes = hashing_codes().copy()
    codes[codes == DELETED] = _GONE
    codes |= np.array([_WHITE * chr(code).isspace() for code in range(sys.maxunicode + 1)], np.uint32)
    return codes


@njit(cache=True, nogil=True)
def _normalise(
    data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], characters: npt.NDArray[np.uint32]
) -> tuple[
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.bool_],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.uint8],
]:
    """The fields of `_Found`: the normalised lines are in UTF-8, with a line feed behind each."""
    feeds = 0
    for place in range(ends[0], ends[-1]):
        feeds += data[place] == _LINE_FEED
    document = np.empty(feeds + len(ends) - 1, np.int64)
    starts, stops = np.empty_like(document), np.empty_like(document)
    begins, finishes = np.empty_like(document), np.empty_like(document)
    blanks = np.empty(len(document), np.bool_)
    # Small letters can be longer than their capitals: 3 bytes for 2.
    buffer = np.empty(2 * (ends[-1] - ends[0]) + len(document), np.uint8)
    line = 0
    # Places are unsigned, as every signed index costs a comparison with zero.
    size = U64(0)
    for row in range(len(ends) - 1):
        base, end = U64(ends[row]), U64(ends[row + 1])
        if base == end:
            continue
        place = first = base
        while first <= end:
            document[line], starts[line], begins[line] = row, first - base, size
            # Behind what is kept there is white space only.
            kept, blank = size, True
            while place < end:
                byte = U32(data[place])
                if byte < 0x80:
                    code, width = byte, U64(1)
                    if byte == _LINE_FEED:
                        break
                elif byte < 0xE0:
                    code, width = U32((byte & 0x1F) << 6 | _tail(data, place, 1)), U64(2)
                elif byte < 0xF0:
                    code = U32((byte & 0x0F) << 12 | _tail(data, place, 1) << 6 | _tail(data, place, 2))
                    width = U64(3)
                else:
                    high = (byte & 0x07) << 18 | _tail(data, place, 1) << 12
                    code, width = U32(high | _tail(data, place, 2) << 6 | _tail(data, place, 3)), U64(4)
                place += width
                mapped = characters[code]
                if mapped & _WHITE and blank:
                    continue
                blank = False
                size = _write(buffer, size, mapped & ~_WHITE)
                if code == 0x130:  # its dot, U+0307, is a character of its own in lower case
                    size = _write(buffer, size, U32(0x307))
                if not mapped & _WHITE:
                    kept = size
            size = kept
            stops[line], finishes[line], blanks[line] = place - base, size, blank
            buffer[size] = _LINE_FEED
            size += U64(1)
            line += 1
            place += U64(1)
            first = place
    return document[:line], starts[:line], stops[:line], blanks[:line], begins[:line], finishes[:line], buffer[:size]


@njit()
def _tail(data: npt.NDArray[np.uint8], place: np.uint64, number: int) -> np.uint32:
    return U32(data[place + U64(number)]) & U32(0x3F)


@njit()
def _write(buffer: npt.NDArray[np.uint8], size: np.uint64, code: np.uint32) -> np.uint64:
    """Write a character in UTF-8, or nothing for `_GONE`; return the place behind it."""
    if code < 0x80:
        buffer[size] = code
        return size + U64(1)
    if code < 0x800:
        buffer[size] = 0xC0 | (code >> U32(6))
        buffer[size + U64(1)] = 0x80 | (code & U32(0x3F))
        return size + U64(2)
    if code == _GONE:
        return size
    if code < 0x10000:
        buffer[size] = 0xE0 | (code >> U32(12))
        buffer[size + U64(1)] = 0x80 | ((code >> U32(6)) & U32(0x3F))
        buffer[size + U64(2)] = 0x80 | (code & U32(0x3F))
        return size + U64(3)
    buffer[size] = 0xF0 | (code >> U32(18))
    buffer[size + U64(1)] = 0x80 | ((code >> U32(12)) & U32(0x3F))
    buffer[size + U64(2)] = 0x80 | ((code >> U32(6)) & U32(0x3F))
    buffer[size + U64(3)] = 0x80 | (code & U32(0x3F))
    return size + U64(4)
