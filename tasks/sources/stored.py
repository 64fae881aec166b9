"""A stored archive as a stream of decompressed bytes that maps each byte to its stored offset."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import BinaryIO

from tasks.sources.codecs import Codec, StoredFault, detect_codec
from tasks.sources.compression import members_of, next_member
from tasks.sources.members import MemberMap
from tasks.sources.reasons import Broken

# A match that begins in a range ends at most this far behind it. The start of an ARC record has up to 4 KiB of URL.
_LONGEST_MATCH = 5 << 10
# Broken members may lie one inside the other, so their bytes are decoded again, but not more often than this.
_MOST_READS = 8
_READ_ANYWAY = 64 << 10


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
        self._decoder = members_of(self.codec, stream).decode(0)
        self._buffer = bytearray()
        self._base = 0
        self.position = 0
        self.members = MemberMap()
        self.ended = False
        self.fault: StoredFault | None = None
        self._next_member: int | None = None
        self._checked: tuple[int, StoredFault | None] | None = None
        self._furthest = self._read_again = 0
        self._no_start: tuple[re.Pattern[bytes] | None, int, int] = None, 0, 0

    def place(self, position: int | None = None) -> tuple[int, int]:
        """The stored location of a held position: (byte offset in the file, decompressed offset inside its member).

        For an uncompressed file, the first is the exact byte and the second is 0.
        """
        position = self.position if position is None else position
        start, offset = self.members.find(position)
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
        found = self.find(pattern, start, end + _LONGEST_MATCH)
        return found[0] if found and found[0] < end else None

    def find(self, pattern: re.Pattern[bytes], start: int, end: int) -> tuple[int, int, str | None] | None:
        """Start, end and last named group of the first match within held positions [start, end)."""
        found = pattern.search(self._buffer, start - self._base, max(end - self._base, 0))
        return (self._base + found.start(), self._base + found.end(), found.lastgroup) if found else None

    def matches(self, pattern: re.Pattern[bytes], position: int) -> bool:
        """Whether `pattern` matches at a held position."""
        return pattern.match(self._buffer, position - self._base, position - self._base + _LONGEST_MATCH) is not None

    def member_between(self, start: int, end: int) -> bool:
        """Whether a compressed member starts in the held range [start, end)."""
        return self.codec is not Codec.none and next(self.members.between(start, end), None) is not None

    def member_start(self, pattern: re.Pattern[bytes], start: int, end: int) -> int | None:
        """The first position in the held range [start, end) where a compressed member starts with `pattern`.

        A range once found without one is not looked at again.
        """
        if self.codec is Codec.none:
            return None
        known, first, behind = self._no_start
        if known is not pattern or not first <= start <= behind:
            first = behind = start
        found = None
        for position in self.members.between(max(start, behind), end):
            if self.matches(pattern, position):
                found = position
                break
        judged = found if found is not None else min(end, self.end if self.ended else self.end - _LONGEST_MATCH)
        self._no_start = pattern, first, max(behind, judged)
        return found

    def release(self, keep: int = 0) -> None:
        """Drop the held bytes before the cursor, except the last `keep`."""
        start = max(self.position - keep, self._base)
        del self._buffer[: start - self._base]
        self._base = start
        self.members.trim(self.position)

    def recover(self) -> bool:
        """After a fault, move to the next member that starts a record. Return False if there is none."""
        if self.fault is None:
            return False
        self.fault = None
        if self._next_member is None:
            return False
        self._restart(self._next_member)
        return True

    def begin_elsewhere(self) -> int | None:
        """For a file without a record in the codec of its first bytes: move to the first member of another one.

        Returns the member's stored offset; None if there is none.
        """
        others = [codec for codec in Codec if codec is not self.codec]
        found = [(next_member(codec, self._stream, 0, self._starts_record), codec) for codec in others]
        places = [(offset, codec) for offset, codec in found if offset is not None]
        if not places:
            return None
        offset, self.codec = min(places)
        self._restart(offset)
        return offset

    @property
    def lost(self) -> bool:
        """Whether there is a fault and no member behind it."""
        return self.fault is not None and self._next_member is None

    def _restart(self, offset: int) -> None:
        self.fault = None
        self._decoder = members_of(self.codec, self._stream).decode(offset)
        self._base = self.position = self.end
        self._buffer.clear()
        self.members.clear()
        self.ended = False

    def damage(self, offset: int) -> StoredFault | None:
        """The fault of the member at `offset`: the last member in the buffer or the one before; None if it is intact.

        If the end of the member is not in the buffer yet, the member is decoded separately up to its end, without
        holding its bytes.
        """
        if self.fault is not None and self.fault.offset == offset:
            return self.fault
        if self.ended or self.members.last != offset:
            return None
        if self._checked is None or self._checked[0] != offset:
            self._checked = offset, self._check(offset)
        return self._checked[1]

    def _check(self, offset: int) -> StoredFault | None:
        reading = self._stream.tell()
        try:
            for member, _ in members_of(self.codec, self._stream).decode(offset):
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
            self._next_member = next_member(self.codec, self._stream, self._behind(fault), self._starts_record)
            if fault.reason is Broken.truncated and self._next_member is not None:
                detail = f"the member has no end before the one at byte {self._next_member}"
                self.fault = StoredFault(Broken.corrupt_member, fault.offset, detail)
            return
        self.members.append(self.end, offset)
        self._buffer += data

    def _behind(self, fault: StoredFault) -> int:
        """Where the search for a member after a fault begins: inside the broken member, within the limit on reading."""
        self._read_again += max(min(fault.reached, self._furthest) - fault.offset, 0)
        self._furthest = max(fault.reached, self._furthest)
        if self._read_again > _MOST_READS * self.size + _READ_ANYWAY:
            return max(self._furthest, fault.offset + 1)
        return fault.offset + 1
