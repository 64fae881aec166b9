"""Normalises text as cc_net does, before it hashes paragraphs and before it scores documents.

The behaviour is that of ``text_normalizer.py`` of facebookresearch/cc_net at commit bda555bd, including details that
its paper omits: ASCII punctuation and accents survive in `normalise_for_hashing`, and `normalise_for_scoring` deletes
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
_DELETED = 0xFFFFFFFF  # no code point
_END_OF_MARKS = 0x20000  # planes 2 and up have none
_LINE_FEED = ord("\n")
_LONG_REPLACEMENTS = {key: value for key, value in PUNCTUATION.items() if len(value) > 1}


def normalise_for_hashing(text: str) -> list[str]:
    """Normalise the lines of `text` for paragraph hashing; returns as many as ``text.split("\\n")``.

    This is cc_net's ``normalize_for_dedup``: it strips and lower-cases each line, replaces Unicode digits with ``0``,
    and removes the characters of `PUNCTUATION` and the control characters.
    """
    # cc_net lower-cases and replaces one line at a time. The result on joined lines is the same: a line feed is
    # neither cased nor case-ignorable (so final sigmas stay), and neither operation adds or removes line feeds.
    stripped = "\n".join([line.strip() for line in text.split("\n")])
    return _map_characters(stripped.lower(), _hashing_table()).split("\n")


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
    return mapped[mapped != _DELETED].astype("<u4").tobytes().decode("utf-32-le")


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
def _hashing_table() -> _CharacterTable:
    codes = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    codes[[ord(character) for character in (*PUNCTUATION, *CONTROLS) if ord(character) != _LINE_FEED]] = _DELETED
    return _table(codes)


@functools.cache
def _scoring_table() -> _CharacterTable:
    codes = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    for character, replacement in PUNCTUATION.items():
        codes[ord(character)] = ord(replacement[0])  # longer replacements were made before
    codes[[code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Mn"]] = _DELETED
    codes[[ord(character) for character in CONTROLS]] = _DELETED
    return _table(codes)


def _table(codes: npt.NDArray[np.uint32]) -> _CharacterTable:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    codes[[match.start() for match in re.finditer(r"\d", everything)]] = ord("0")
    kept = bytes(0 if code == _DELETED else int(code) & 0x7F for code in codes[:128])
    deleted = bytes(code for code in range(128) if codes[code] == _DELETED)
    return _CharacterTable(codes, kept + bytes(range(128, 256)), deleted)
