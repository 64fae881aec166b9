"""What a search for personal data gives: spans of UTF-8 bytes."""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """Bytes of a text from `start` to `end`."""

    start: int
    end: int
