"""Unicode's normal form C with the tables of the library `tokenizers`, which are older than Python's."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import tokenizers

# Ranges that include every code point that is newer than Unicode 3.2 and that normalisation changes, moves or combines
# in Python's version of Unicode. A text without them has the same normal form in all versions from 3.2 on (Unicode
# Standard Annex 15, "Stability of Normalized Forms").
_NEWER = (
    "350-35f 487-487 5a2-5a2 5ba-5ba 5c5-5c5 5c7-5c7 610-61a 656-65f 7eb-7f3 7fd-82d 859-85b 898-89f 8ca-8ff 9fe-9fe "
    "c3c-c3c cbc-cbc d3b-d3c eba-eba 103a-103a 108d-108d 135d-135f 1715-1715 17dd-17dd 1939-193b 1a17-1a18 1a60-1a7f "
    "1ab0-1ace 1b05-1b73 1baa-1bab 1be6-1bf3 1c37-1c37 1cd0-1cf9 1dc0-1dff 20eb-20f0 2cef-2cf1 2d7f-2d7f 2de0-2dff "
    "a66f-a69f a6f0-a6f1 a806-a82c a8c4-a8f1 a92b-a953 a9b3-a9c0 aab0-aac1 aaf6-aaf6 abed-abed fa2e-fa2f fa6b-fad9 "
    "fe24-fe2f 101fd-1037a 10a0d-11d97 16af0-16b36 16ff0-16ff1 1bc9e-1bc9e 1d242-1d244 1e000-1e2ef 1e8d0-1e94a"
)
NEWER = tuple((int(first, 16), int(last, 16)) for first, last in (pair.split("-") for pair in _NEWER.split()))
_PATTERN = "[" + "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in NEWER) + "]"


def normalised(texts: Sequence[str]) -> list[str]:
    """The normal form C of each text, as ``tokenizers.normalizers.NFC`` gives it."""
    found = list(texts)
    rows = [row for row, text in enumerate(texts) if not text.isascii()]
    if not rows:
        return found
    newer = pc.match_substring_regex(pa.array([texts[row] for row in rows], pa.large_string()), _PATTERN)
    theirs = tokenizers.normalizers.NFC()
    for row, is_newer in zip(rows, newer.to_pylist(), strict=True):
        text = texts[row]
        found[row] = theirs.normalize_str(text) if is_newer else unicodedata.normalize("NFC", text)
    return found
