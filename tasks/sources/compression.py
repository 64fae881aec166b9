"""Reads compressed files member by member, with the stored offset and the damage of each member."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from tasks.sources.codecs import MAGIC, Codec
from tasks.sources.frames import Lz4Members, ZstdMembers
from tasks.sources.gzip_members import LONGEST_HEADER, GzipMembers

_CHUNK = 1 << 15
_WINDOW = 1 << 16
# The search for a member decodes at most this many bytes for each byte that it passes. Real files need about one.
_MOST_TRIED = 64
_BEGINNING = 8 << 10


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
            if tried <= _MOST_TRIED * (offset - start + LONGEST_HEADER):
                first, size = members.beginning(offset)
                tried += size
                if wanted(first):
                    return offset
            found = data.find(magic, found + 1)
        carry = data[1 - len(magic) :]


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
        return self._stream.read(_BEGINNING), 0


_MEMBERS: dict[Codec, Callable[[BinaryIO], Members]] = {
    Codec.none: _PlainMember,
    Codec.gzip: GzipMembers,
    Codec.zstd: ZstdMembers,
    Codec.lz4: Lz4Members,
}
