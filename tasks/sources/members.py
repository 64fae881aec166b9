"""Where the members of a compressed archive start, by position in the decompressed bytes and by stored offset."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

_TRIM = 1024


class MemberMap:
    """The members of the held bytes, in order. Of members that start at one position, all but the last are empty."""

    def __init__(self) -> None:
        self._positions: list[int] = []
        self._offsets: list[int] = []
        self._first = 0

    def append(self, position: int, offset: int) -> None:
        """Add the member at the stored `offset`, whose bytes start at `position`, unless it is the last one."""
        if self.last == offset:
            return
        if self._positions and self._positions[-1] == position:
            self._offsets[-1] = offset
        else:
            self._positions.append(position)
            self._offsets.append(offset)

    @property
    def last(self) -> int | None:
        """The stored offset of the last member."""
        return self._offsets[-1] if self._offsets else None

    def between(self, start: int, end: int) -> Iterator[int]:
        """The positions in [start, end) where members start."""
        number = bisect_left(self._positions, start, self._first)
        while number < len(self._positions) and self._positions[number] < end:
            yield self._positions[number]
            number += 1

    def find(self, position: int) -> tuple[int, int]:
        """Start and stored offset of the member that holds `position`."""
        number = bisect_right(self._positions, position, self._first) - 1
        return (self._positions[number], self._offsets[number]) if number >= self._first else (0, 0)

    def trim(self, position: int) -> None:
        """Forget the members that end at or before `position`."""
        self._first = max(bisect_right(self._positions, position, self._first) - 1, self._first)
        if self._first > max(_TRIM, len(self._positions) // 2):
            del self._positions[: self._first], self._offsets[: self._first]
            self._first = 0

    def clear(self) -> None:
        """Forget all members."""
        self._positions, self._offsets, self._first = [], [], 0
