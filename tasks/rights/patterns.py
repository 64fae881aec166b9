"""Patterns of paths as in robots.txt (RFC 9309 section 2.2.3): ``*`` is any characters, ``$`` the end of the path."""

from __future__ import annotations

import re
from urllib.parse import quote

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
# RFC 3986 section 2.3; what else is percent-encoded stays so.
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEPT = "%!#$&'()*+,/:;=?@[]~"


class Pattern:
    """A pattern, as `written`. Matching takes time linear in the target and the pattern."""

    def __init__(self, written: str) -> None:
        self.written = written
        ends = written.endswith("$")
        self._ends = ends
        self._pieces = normal_target(written[:-1] if ends else written).split("*")

    def matches(self, target: str) -> bool:
        """Whether a target (path and query, as `normal_target` gives it) begins with the pattern."""
        first, *rest = self._pieces
        if not target.startswith(first):
            return False
        if not rest:
            return not self._ends or target == first
        position = len(first)
        for piece in rest[:-1]:
            position = target.find(piece, position)
            if position < 0:
                return False
            position += len(piece)
        if self._ends:
            return target.endswith(rest[-1]) and len(target) - len(rest[-1]) >= position
        return target.find(rest[-1], position) >= 0


def normal_target(target: str) -> str:
    """A path and query with one spelling: unreserved characters plain, all others that need it percent-encoded."""
    return quote(_ESCAPE.sub(_plain, target), safe=_KEPT)


def _plain(escape: re.Match[str]) -> str:
    byte = int(escape[1], 16)
    return chr(byte) if byte in _UNRESERVED else f"%{escape[1].upper()}"
