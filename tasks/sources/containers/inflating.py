"""A cursor over the decompressed bytes of a stored file."""

from __future__ import annotations

from typing import BinaryIO

from tasks.sources.codecs import StoredFault
from tasks.sources.containers.faults import Limits, TooMuch
from tasks.sources.decompressed import decompressed

_PIECE = 1 << 18


class Inflated:
    """Reads the decompressed bytes of a file in order. `position` counts them.

    Raises StoredFault at damage, and TooMuch where the file becomes larger than the limits allow.
    """

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        self._stream, self._limits = stream, limits
        self._pieces = decompressed(stream)
        self._held = bytearray()
        self._inflated = 0
        self.position = 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer at the end of the file."""
        data = self.peek(size)
        del self._held[:size]
        self.position += len(data)
        return data

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, which stay; fewer at the end of the file."""
        while len(self._held) < size and (piece := next(self._pieces, None)) is not None:
            if isinstance(piece, StoredFault):
                raise piece
            self._held += piece
            self._inflated += len(piece)
            if self._inflated > self._limits.free_bytes + self._limits.ratio * self._stream.tell():
                detail = f"{self._inflated} bytes came of the first {self._stream.tell()}"
                raise TooMuch(detail, self.position)
        return bytes(memoryview(self._held)[:size])

    def skip(self, size: int) -> int:
        """Pass `size` bytes; return how many there were."""
        start = self.position
        while (left := start + size - self.position) > 0 and self.read(min(left, _PIECE)):
            pass
        return self.position - start
