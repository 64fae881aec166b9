"""What cc_net hashes of a line, from its description."""

from __future__ import annotations

import unicodedata

from tasks.text.normalise import CONTROLS, PUNCTUATION


def line_for_hashing(line: str) -> str:
    """cc_net's normalize_for_dedup: one line, one character at a time."""
    line = line.strip().lower()
    line = "".join("0" if unicodedata.category(character) == "Nd" else character for character in line)
    return "".join(character for character in line if character not in PUNCTUATION and character not in CONTROLS)
