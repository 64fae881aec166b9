"""Normalises text as cc_net does, before it hashes paragraphs and before it scores documents.

The behaviour is that of ``text_normalizer.py`` of facebookresearch/cc_net at commit bda555bd, including details that
its paper omits: ASCII punctuation and accents survive in lines that are hashed, and `normalise_for_scoring` deletes
control characters, including the line feed, without inserting a space.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# cc_net took these from the normaliser of the Moses translation system. FULLWIDTH DIGIT ONE to a quotation mark is
# a mistake of the original. It has no effect, because digits are mapped first, but the keys are also used alone.
PUNCTUATION = {
    unicodedata.lookup(name): replacement
    for name, replacement in {
        "FULLWIDTH COMMA": ",",
        "IDEOGRAPHIC FULL STOP": ".",
        "IDEOGRAPHIC COMMA": ",",
        "DOUBLE LOW-9 QUOTATION MARK": '"',
        "RIGHT DOUBLE QUOTATION MARK": '"',
        "LEFT DOUBLE QUOTATION MARK": '"',
        "LEFT-POINTING DOUBLE ANGLE QUOTATION MARK": '"',
        "RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK": '"',
        "FULLWIDTH DIGIT ONE": '"',
        "RIGHT CORNER BRACKET": '"',
        "LEFT CORNER BRACKET": '"',
        "LEFT DOUBLE ANGLE BRACKET": '"',
        "RIGHT DOUBLE ANGLE BRACKET": '"',
        "ACUTE ACCENT": "'",
        "RATIO": ":",
        "FULLWIDTH COLON": ":",
        "FULLWIDTH QUESTION MARK": "?",
        "FULLWIDTH EXCLAMATION MARK": "!",
        "FULLWIDTH LEFT PARENTHESIS": "(",
        "FULLWIDTH RIGHT PARENTHESIS": ")",
        "FULLWIDTH SEMICOLON": ";",
        "EN DASH": "-",
        "EM DASH": " - ",
        "FULLWIDTH FULL STOP": ". ",
        "FULLWIDTH TILDE": "~",
        "RIGHT SINGLE QUOTATION MARK": "'",
        "HORIZONTAL ELLIPSIS": "...",
        "BOX DRAWINGS HEAVY HORIZONTAL": "-",
        "LEFT ANGLE BRACKET": "<",
        "RIGHT ANGLE BRACKET": ">",
        "LEFT BLACK LENTICULAR BRACKET": "[",
        "RIGHT BLACK LENTICULAR BRACKET": "]",
        "FULLWIDTH PERCENT SIGN": "%",
        "BLACK RIGHT-POINTING POINTER": "-",
    }.items()
}
CONTROLS = "".join(map(chr, [*range(0, 32), *range(127, 160)]))

# The stream-safe text format allows 30 marks in a row (UAX 15 section 13); more occur in attacks only.
_MOST_MARKS = 30
DELETED = 0xFFFFFFFF  # no code point
_END_OF_MARKS = 0x20000  # planes 2 and up have none
_LINE_FEED = ord("\n")
_LONG_REPLACEMENTS = {key: value for key, value in PUNCTUATION.items() if len(value) > 1}


def normalise_for_scoring(text: str) -> str:
    """Normalise `text` for cc_net's language models: its ``normalize`` with all defaults, one line without a line feed.

    It strips and lower-cases the text, removes accents (NFD without category Mn), maps Unicode digits to ``0``,
    replaces `PUNCTUATION` and removes control characters, so ``"First line 2019.\\nSecond"`` becomes ``"first line
    0000.second"``.
    """
    line = text.strip().lower()
    if not line.isascii():
        line = decompose(line)
        for character, replacement in _LONG_REPLACEMENTS.items():
            line = line.replace(character, replacement)
    return _map_characters(line, _scoring_table())


def decompose(text: str) -> str:
    """NFD. Unlike ``unicodedata.normalize``, which sorts marks by insertion, it is not quadratic in their number."""
    marks = _mark_table()[_codes(text)]
    longest = np.diff(np.flatnonzero(~marks), prepend=-1, append=len(marks)).max() - 1 if marks.any() else 0
    if longest <= _MOST_MARKS:
        return unicodedata.normalize("NFD", text)
    each = "".join([unicodedata.normalize("NFD", character) for character in text])
    classes = _class_table()[_codes(each)]
    # Canonical ordering (Unicode section 3.11, D109): within a run of marks, by class; equal classes keep their order.
    order = np.argsort((np.cumsum(classes == 0) << 8) + classes, kind="stable")
    return _codes(each)[order].astype("<u4").tobytes().decode("utf-32-le")


@dataclass(frozen=True)
class _CharacterTable:
    """The replacement of each code point; `ascii` and `ascii_deleted` are the same for ``bytes.translate``."""

    codes: npt.NDArray[np.uint32]
    ascii: bytes
    ascii_deleted: bytes


def _map_characters(text: str, table: _CharacterTable) -> str:
    if text.isascii():
        return text.encode("ascii").translate(table.ascii, table.ascii_deleted).decode("ascii")
    mapped = table.codes[_codes(text)]
    return mapped[mapped != DELETED].astype("<u4", copy=False).tobytes().decode("utf-32-le")


def _codes(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


@functools.cache
def _class_table() -> npt.NDArray[np.int64]:
    """The canonical combining class of each code point."""
    classes = map(unicodedata.combining, map(chr, range(sys.maxunicode + 1)))
    return np.fromiter(classes, np.int64, sys.maxunicode + 1)


@functools.cache
def _mark_table() -> npt.NDArray[np.bool_]:
    """For each code point, whether it becomes marks only."""
    marks = np.zeros(sys.maxunicode + 1, bool)
    for code in range(ord("\u0300"), _END_OF_MARKS):
        marks[code] = all(map(unicodedata.combining, unicodedata.normalize("NFD", chr(code))))
    return marks


@functools.cache
def hashing_codes() -> npt.NDArray[np.uint32]:
    """For each code point, what stands for it in a line that is hashed: a code point, or `DELETED`.

    This is cc_net's ``normalize_for_dedup`` of a line that is stripped: in lower case, with Unicode digits as ``0``,
    and without the characters of `PUNCTUATION` and the control characters.

    Two letters have another context or length in lower case, and are up to the caller: U+03A3, of which this gives the
    form inside a word, and U+0130, of which it gives the first of two.
    """
    codes = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    codes[[ord(character) for character in (*PUNCTUATION, *CONTROLS) if ord(character) != _LINE_FEED]] = DELETED
    codes[_digits()] = ord("0")
    return codes[[ord(chr(code).lower()[0]) for code in range(sys.maxunicode + 1)]]


@functools.cache
def _scoring_table() -> _CharacterTable:
    codes = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    for character, replacement in PUNCTUATION.items():
        codes[ord(character)] = ord(replacement[0])  # longer replacements were made before
    codes[[code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Mn"]] = DELETED
    codes[[ord(character) for character in CONTROLS]] = DELETED
    return _table(codes)


def _table(codes: npt.NDArray[np.uint32]) -> _CharacterTable:
    codes[_digits()] = ord("0")
    kept = bytes(0 if code == DELETED else int(code) & 0x7F for code in codes[:128])
    deleted = bytes(code for code in range(128) if codes[code] == DELETED)
    return _CharacterTable(codes, kept + bytes(range(128, 256)), deleted)


def _digits() -> list[int]:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    return [match.start() for match in re.finditer(r"\d", everything)]
