"""Reads compressed files member by member, with the stored offset and the damage of each member."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from tasks.sources.codecs import MAGIC, Codec, StoredFault, no_member
from tasks.sources.frames import Lz4Members, ZstdMembers
from tasks.sources.reasons import Broken

_CHUNK = 1 << 15
_WINDOW = 1 << 16
# The search for a member decodes at most this many bytes for each byte that it passes. Real files need about one.
_MOST_TRIED = 64
# What a record's first lines need: a URL record of ARC has up to 4 KiB of URL, a gzip header a file name.
_LONGEST_HEADER = 4 << 10
_FIRST_PIECE = 512
_LARGEST_PIECE = 8 << 10


class Members(Protocol):
    """A file's members of one compression."""

    def decode(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Yield the decompressed bytes from the member at `start` on, in pieces, each with its member's stored offset.

        A member is a gzip member, a zstd or LZ4 frame, or a whole uncompressed file. Pieces are at most 256 KiB,
        whatever the size of the decompressed member. Raises StoredFault at damage, after yielding everything before it.
        """
        ...

    def beginning(self, offset: int) -> tuple[bytes, int]:
        """The first decompressed bytes of the member at `offset`, and the number of stored bytes decoded for them."""
        ...


def members_of(codec: Codec, stream: BinaryIO) -> Members:
    """The members of the file `stream`, which is read with `codec`."""
    return _MEMBERS[codec](stream)


def decode(codec: Codec, stream: BinaryIO, start: int) -> Iterator[tuple[int, bytes]]:
    """`Members.decode` of a file."""
    return members_of(codec, stream).decode(start)


def next_member(codec: Codec, stream: BinaryIO, start: int, wanted: Callable[[bytes], bool]) -> int | None:
    """The offset of the first member from `start` on whose first bytes satisfy `wanted`; None if there is none.

    The work is linear in the bytes passed: magic bytes for which more than `_MOST_TRIED` times as many would have to
    be decoded are passed over.
    """
    magic = MAGIC.get(codec)
    if magic is None:
        return None
    members = members_of(codec, stream)
    position, tried, carry = start, 0, b""
    while True:
        stream.seek(position)
        read = stream.read(_WINDOW)
        if not read:
            return None
        data = carry + read
        base = position - len(carry)
        position += len(read)
        found = data.find(magic)
        while found != -1:
            offset = base + found
            if tried <= _MOST_TRIED * (offset - start + _LONGEST_HEADER):
                first, size = members.beginning(offset)
                tried += size
                if wanted(first):
                    return offset
            found = data.find(magic, found + 1)
        carry = data[1 - len(magic) :]


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


class _PlainMember:
    """A file without compression: one member."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def decode(self, start: int) -> Iterator[tuple[int, bytes]]:
        self._stream.seek(start)
        while data := self._stream.read(_CHUNK):
            yield start, data

    def beginning(self, offset: int) -> tuple[bytes, int]:
        self._stream.seek(offset)
        return self._stream.read(_LARGEST_PIECE), 0


class _GzipMembers:
    """Members of a gzip file (RFC 1952)."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held: tuple[int, bytes] = 0, b""
        self._tried: tuple[int, bytes] | None = None

    def decode(self, start: int) -> Iterator[tuple[int, bytes]]:
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
            inflater = zlib.decompressobj(wbits=31)
            size = 0
            while not inflater.eof:
                if not data:
                    data = self._stream.read(_CHUNK)
                    if not data:
                        detail = "the file ends inside a gzip member"
                        raise StoredFault(Broken.truncated, offset, detail, offset + size)
                checkpoint = inflater.copy()
                try:
                    decompressed = inflater.decompress(data, 8 * _CHUNK)
                except zlib.error as error:
                    yield offset, salvage(checkpoint, data)
                    check = "incorrect data check" in str(error) or "incorrect length check" in str(error)
                    reason = Broken.bad_checksum if check else Broken.corrupt_member
                    raise StoredFault(reason, offset, str(error), offset + size) from None
                rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
                size += len(data) - len(rest)
                data = rest
                yield offset, decompressed
            offset += size
            data = data or self._stream.read(_CHUNK)

    def beginning(self, offset: int) -> tuple[bytes, int]:
        """As `Members.beginning`. Headers that end at the same byte, as of names inside names, are tried once."""
        data = self._peek(offset, _LONGEST_HEADER + _LARGEST_PIECE)
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


def _header_end(data: bytes) -> int | None:
    """The size of the gzip header that begins `data` (RFC 1952 section 2.3); None if it is none, or over 4 KiB."""
    flags = data[3] if len(data) > 3 else 0xFF
    if flags & 0xE0:
        return None
    end = 10
    if flags & 4:
        end += 2 + int.from_bytes(data[end : end + 2], "little")
    for flag in (8, 16):
        if flags & flag:
            end = data.find(b"\0", end, _LONGEST_HEADER) + 1
            if not end:
                return None
    end += flags & 2
    return end if end <= _LONGEST_HEADER else None


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


_MEMBERS: dict[Codec, Callable[[BinaryIO], Members]] = {
    Codec.none: _PlainMember,
    Codec.gzip: _GzipMembers,
    Codec.zstd: ZstdMembers,
    Codec.lz4: Lz4Members,
}
