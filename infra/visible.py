"""Text from outside, for a terminal or a log: what would steer the terminal or change the order of letters is shown."""

from __future__ import annotations

import re

# C0 but for tab and line feed, DEL, C1 (ISO 6429); bidirectional controls (UAX 9); line and paragraph separators;
# surrogates, which no terminal can be sent.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """`text` with its control characters as escapes, such as ``\\x1b``."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)
