"""A stored archive as a stream of decompressed bytes that maps each byte to its stored offset."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import BinaryIO

from tasks.sources.compression import Codec, StoredFault, decode, detect_codec, next_member
from tasks.sources.reasons import Broken


class StoredStream:
    """A cursor over the decompressed bytes of an archive, with look-ahead and recovery after damage.

    `stream` must be seekable; `size` is the size of the file. Positions count decompressed bytes. The buffer holds the
    bytes between the last `release` and the look-ahead. At damage, the stream first delivers everything decompressed
    before it, then sets `fault`; `recover` moves to the next member whose first bytes satisfy `starts_record`. A member
    without an end is truncated if it is the last one, and corrupt if others follow.
    """

    def __init__(self, stream: BinaryIO, starts_record: Callable[[bytes], bool]) -> None:
        if not stream.seekable():
            raise ValueError("archives are read from seekable streams: open the file itself, or spool it first")
        self._stream = stream
        self._starts_record = starts_record
        self.size = stream.seek(0, 2)
        stream.seek(0)
        self.codec = detect_codec(stream.read(4))
        self._decoder = decode(self.codec, stream, 0)
        self._buffer = bytearray()
        self._base = 0
        self.position = 0
        self.members: list[tuple[int, int]] = []
        self.ended = False
        self.fault: StoredFault | None = None
        self._next_member: int | None = None
        self._checked: tuple[int, StoredFault | None] | None = None

    def place(self, position: int | None = None) -> tuple[int, int]:
        """The stored location of a held position: (byte offset in the file, decompressed offset inside its member).

        For an uncompressed file, the first is the exact byte and the second is 0.
        """
        position = self.position if position is None else position
        start, offset = next(((s, o) for s, o in reversed(self.members) if s <= position), (0, 0))
        return (offset + position - start, 0) if self.codec is Codec.none else (offset, position - start)

    def ahead(self, size: int) -> bool:
        """Hold at least `size` bytes after the cursor. Return False if the readable bytes end before that."""
        while not self.ended and self._base + len(self._buffer) < self.position + size:
            self._fill()
        return self._base + len(self._buffer) >= self.position + size

    def held(self, start: int, end: int) -> bytes:
        """The bytes between two held positions."""
        return bytes(memoryview(self._buffer)[start - self._base : end - self._base])

    @property
    def end(self) -> int:
        """The position after the last held byte."""
        return self._base + len(self._buffer)

    def search(self, pattern: re.Pattern[bytes], start: int, end: int) -> int | None:
        """The position of the first match that starts within held positions [start, end)."""
        found = pattern.search(self._buffer, start - self._base)
        return self._base + found.start() if found and self._base + found.start() < end else None

    def matches(self, pattern: re.Pattern[bytes], position: int) -> bool:
        """Whether `pattern` matches at a held position."""
        return pattern.match(self._buffer, position - self._base) is not None

    def at_member(self) -> bool:
        """Whether a compressed member starts at the cursor."""
        return self.codec is not Codec.none and any(start == self.position for start, _ in self.members)

    def release(self) -> None:
        """Drop the held bytes before the cursor."""
        del self._buffer[: self.position - self._base]
        self._base = self.position
        while len(self.members) > 1 and self.members[1][0] <= self.position:
            del self.members[0]

    def recover(self) -> bool:
        """After a fault, move to the next member that starts a record. Return False if there is none."""
        if self.fault is None:
            return False
        self.fault = None
        if self._next_member is None:
            return False
        self._decoder = decode(self.codec, self._stream, self._next_member)
        self._base = self.position = self.end
        self._buffer.clear()
        self.members.clear()
        self.ended = False
        return True

    def damage(self, offset: int) -> StoredFault | None:
        """The fault of the member at `offset`: the last member in the buffer or the one before; None if it is intact.

        If the end of the member is not in the buffer yet, the member is decoded separately up to its end, without
        holding its bytes.
        """
        if self.fault is not None and self.fault.offset == offset:
            return self.fault
        if self.ended or self.members[-1][1] != offset:
            return None
        if self._checked is None or self._checked[0] != offset:
            self._checked = offset, self._check(offset)
        return self._checked[1]

    def _check(self, offset: int) -> StoredFault | None:
        reading = self._stream.tell()
        try:
            for member, _ in decode(self.codec, self._stream, offset):
                if member != offset:
                    break
        except StoredFault as fault:
            return fault if fault.offset == offset else None
        finally:
            self._stream.seek(reading)
        return None

    def _fill(self) -> None:
        try:
            offset, data = next(self._decoder)
        except StopIteration:
            self.ended = True
            return
        except StoredFault as fault:
            self.ended, self.fault = True, fault
            self._next_member = next_member(self.codec, self._stream, fault.offset + 1, self._starts_record)
            if fault.reason is Broken.truncated and self._next_member is not None:
                detail = f"the member has no end before the one at byte {self._next_member}"
                self.fault = StoredFault(Broken.corrupt_member, fault.offset, detail)
            return
        if not self.members or self.members[-1][1] != offset:
            self.members.append((self.end, offset))
        self._buffer += data
