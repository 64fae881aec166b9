"""Reads the members of gzip files (RFC 1952): fast where they are intact, and to the byte where they are not."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator
from typing import BinaryIO

from isal import igzip_lib

from tasks.sources.codecs import MAGIC, Codec, StoredFault, no_member
from tasks.sources.reasons import Broken

_CHUNK = 1 << 16
_PIECE = 1 << 18
_WINDOW = 1 << 16
# What a record's first lines need: a URL record of ARC has up to 4 KiB of URL, a gzip header a file name.
LONGEST_HEADER = 4 << 10
_FIRST_PIECE = 512
_LARGEST_PIECE = 8 << 10
_RESERVED_FLAGS = 0xE0  # RFC 1952 section 2.3.1.2
# isal's stubs declare an exception in place of a class.
_REFUSED: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]


class GzipMembers:
    """Members of a gzip file.

    ISA-L decodes an intact member in less than half of zlib's time, but does not say where a damaged one breaks. A
    member that it refuses is therefore decoded again, with zlib. It ignores reserved flags of a header, which zlib
    refuses.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held: tuple[int, bytes] = 0, b""
        self._tried: tuple[int, bytes] | None = None

    def decode(self, start: int) -> Iterator[tuple[int, bytes]]:
        """As `tasks.sources.compression.Members.decode`. Raises StoredFault."""
        offset = start
        self._stream.seek(start)
        data = self._stream.read(_CHUNK)
        while data:
            if len(data) < 4:
                data += self._stream.read(_CHUNK)
            if not data.startswith(MAGIC[Codec.gzip]):
                if self._only_zeros(data):
                    return
                raise no_member(data, Codec.gzip, offset)
            size, data = yield from self._member(offset, data)
            offset += size
            data = data or self._stream.read(_CHUNK)

    def _member(self, offset: int, data: bytes) -> Generator[tuple[int, bytes], None, tuple[int, bytes]]:
        """Yield the member at `offset`, which begins with `data`; return its stored size and what was read behind."""
        inflater = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        size = given = 0
        sound = len(data) > 3 and not data[3] & _RESERVED_FLAGS
        while sound:
            try:
                decompressed = inflater.decompress(data, _PIECE)
            except _REFUSED:
                break
            size += len(data)
            given += len(decompressed)
            yield offset, decompressed
            if inflater.eof:
                rest = inflater.unused_data
                return size - len(rest), rest
            data = self._stream.read(_CHUNK) if inflater.needs_input else b""
            sound = bool(data) or not inflater.needs_input
        return (yield from self._member_with_zlib(offset, given))

    def _member_with_zlib(self, offset: int, given: int) -> Generator[tuple[int, bytes], None, tuple[int, bytes]]:
        """The same without the first `given` bytes. Raises StoredFault, after yielding every byte before the damage."""
        inflater = zlib.decompressobj(wbits=31)
        self._stream.seek(offset)
        data, size = b"", 0
        while not inflater.eof:
            data = data or self._stream.read(_CHUNK)
            if not data:
                raise StoredFault(Broken.truncated, offset, "the file ends inside a gzip member", offset + size)
            checkpoint = inflater.copy()
            try:
                decompressed = inflater.decompress(data, _PIECE)
            except zlib.error as error:
                yield offset, salvage(checkpoint, data)[given:]
                check = "incorrect data check" in str(error) or "incorrect length check" in str(error)
                reason = Broken.bad_checksum if check else Broken.corrupt_member
                raise StoredFault(reason, offset, str(error), offset + size) from None
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            size += len(data) - len(rest)
            data = rest
            yield offset, decompressed[given:]
            given = max(given - len(decompressed), 0)
        return size, data

    def beginning(self, offset: int) -> tuple[bytes, int]:
        """As `tasks.sources.compression.Members.beginning`.

        Headers that end at the same byte, as of names inside names, are tried once.
        """
        data = self._peek(offset, LONGEST_HEADER + _LARGEST_PIECE)
        start = _header_end(data)
        if start is None:
            return b"", 0
        if self._tried is not None and self._tried[0] == offset + start:
            return self._tried[1], 0
        first, size = _first_bytes(data[start:])
        self._tried = offset + start, first
        return first, size

    def _peek(self, offset: int, size: int) -> bytes:
        base, held = self._held
        if offset < base or (offset + size > base + len(held) and len(held) in (0, _WINDOW)):
            self._stream.seek(offset)
            base, held = self._held = offset, self._stream.read(_WINDOW)
        return held[offset - base : offset - base + size]

    def _only_zeros(self, data: bytes) -> bool:
        """Whether only the zero padding of a tape block follows."""
        while data:
            if data.strip(b"\0"):
                return False
            data = self._stream.read(_CHUNK)
        return True


def salvage(checkpoint: zlib._Decompress, data: bytes) -> bytes:
    """Inflate `data` up to the byte that breaks it. `checkpoint` is left as it is; the work is linear in `data`."""
    state, pieces = checkpoint.copy(), []
    good, broken = 0, len(data)
    while good < broken:
        middle = (good + broken + 1) // 2
        attempt = state.copy()
        try:
            pieces.append(attempt.decompress(data[good:middle]))
        except zlib.error:
            broken = middle - 1
        else:
            state, good = attempt, middle
    return b"".join(pieces)


def _header_end(data: bytes) -> int | None:
    """The size of the gzip header that begins `data` (RFC 1952 section 2.3); None if it is none, or over 4 KiB."""
    flags = data[3] if len(data) > 3 else 0xFF
    if flags & _RESERVED_FLAGS:
        return None
    end = 10
    if flags & 4:
        end += 2 + int.from_bytes(data[end : end + 2], "little")
    for flag in (8, 16):
        if flags & flag:
            end = data.find(b"\0", end, LONGEST_HEADER) + 1
            if not end:
                return None
    end += flags & 2
    return end if end <= LONGEST_HEADER else None


def _first_bytes(data: bytes) -> tuple[bytes, int]:
    """The first bytes of a deflate stream, a small piece first: most that are none break there."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces: list[bytes] = []
    end = 0
    for following in (_FIRST_PIECE, _LARGEST_PIECE):
        checkpoint = inflater.copy()
        try:
            pieces.append(inflater.decompress(data[end:following], _LARGEST_PIECE))
        except zlib.error:
            pieces.append(salvage(checkpoint, data[end:following]))
            break
        finally:
            end = min(following, len(data))
        first = b"".join(pieces)
        if inflater.eof or not first or len(first) >= _LARGEST_PIECE or first.lstrip(b"\r\n\0").count(b"\n") > 1:
            break
    return b"".join(pieces), end
