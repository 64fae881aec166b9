"""Unicode's normal form C with the tables of the library `tokenizers`, which are older than Python's."""

from __future__ import annotations

import functools
import unicodedata

import pyarrow as pa
import pyarrow.compute as pc
import tokenizers

_LAST = 0x2FFFF  # nothing above it is changed by normalisation
_JAMO = (range(0x1161, 0x1176), range(0x11A8, 0x11C3))  # vowels and finals of Hangul, which join what is before them


def normalised(texts: pa.Array) -> dict[int, str]:
    """The normal form C of those texts that may differ from it, by row; as ``tokenizers.normalizers.NFC`` gives it."""
    rows = pc.indices_nonzero(pc.invert(pc.string_is_ascii(texts)))
    if not len(rows):
        return {}
    touched, newer = _patterns()
    rows = rows.filter(pc.match_substring_regex(texts.take(rows), touched))
    found = texts.take(rows)
    theirs = tokenizers.normalizers.NFC()
    return {
        row: theirs.normalize_str(text) if is_newer else unicodedata.normalize("NFC", text)
        for row, text, is_newer in zip(
            rows.to_pylist(), found.to_pylist(), pc.match_substring_regex(found, newer).to_pylist(), strict=True
        )
    }


def touched_characters() -> list[str]:
    """The characters that normalisation changes, moves or joins to others; a text without them is in normal form C."""
    characters = [chr(number) for number in range(_LAST + 1) if not 0xD800 <= number < 0xE000]
    joined = {chr(number) for jamo in _JAMO for number in jamo}
    for character in characters:
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            joined.add(chr(int(parts[1], 16)))
    return [
        one
        for one in characters
        if one in joined or unicodedata.combining(one) or not unicodedata.is_normalized("NFC", one)
    ]


@functools.cache
def _patterns() -> tuple[str, str]:
    """Patterns of the touched characters, and of those among them that are newer than Unicode 3.2.

    A text without the latter has the same normal form in all versions from 3.2 on (Unicode Standard Annex 15,
    "Stability of Normalized Forms").
    """
    touched = touched_characters()
    newer = [one for one in touched if unicodedata.ucd_3_2_0.category(one) == "Cn"]
    return _any_of(touched), _any_of(newer)


def _any_of(characters: list[str]) -> str:
    return "[" + "".join(rf"\x{{{ord(one):x}}}" for one in characters) + "]"
