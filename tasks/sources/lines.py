"""Cuts a decompressed file into lines, of which none takes more memory than allowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tasks.sources.codecs import StoredFault

_LINE_FEED = ord("\n")


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its line end; `content` is None if it is too long, or cut by `fault`."""

    size: int
    content: bytes | None = field(default=None, repr=False)
    fault: StoredFault | None = None


def read_lines(pieces: Iterable[bytes | StoredFault], longest: int) -> Iterator[Line]:
    """The lines of a file. Each byte is searched once, and at most `longest` bytes of a line are held.

    What follows damage is read from the next line on.
    """
    held = bytearray()
    size = 0
    lost = False  # the start of the line
    for piece in pieces:
        if isinstance(piece, StoredFault):
            yield Line(size, None, piece)
            held.clear()
            size, lost = 0, True
            continue
        start = 0
        while start < len(piece):
            end = piece.find(b"\n", start) + 1 or len(piece)
            ended = piece[end - 1] == _LINE_FEED
            if lost:
                lost, start = not ended, end
                continue
            size += end - start
            if len(held) < longest + 3:
                # Two bytes of a line end, and one to know that the line is too long.
                held += piece[start : min(end, start + longest + 3 - len(held))]
            if ended:
                yield _ended(held, size, longest)
                held.clear()
                size = 0
            start = end
    if size:
        yield _ended(held, size, longest)


def _ended(held: bytearray, size: int, longest: int) -> Line:
    whole = size == len(held) and len(held.rstrip(b"\r\n")) <= longest
    return Line(size, bytes(held) if whole else None)
