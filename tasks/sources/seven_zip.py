"""Reads the members of a 7z archive as streams; nothing is ever written, and names are only compared.

The format is that of 7-Zip's `DOC/7zFormat.txt`. Members are packed in folders, each compressed as one stream by a
chain of coders. Read are those with LZMA, LZMA2, bzip2, Deflate and none; Stack Exchange uses bzip2 and LZMA2.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from tasks.sources.codecs import StoredFault
from tasks.sources.decompressed import ALWAYS_ALLOWED, MOST_EXPANDED
from tasks.sources.reasons import Broken
from tasks.sources.seven_zip_coders import PIECE, decoder_of
from tasks.sources.seven_zip_header import Folder, Header, HeaderError, read_header, read_streams

MAGIC = b"7z\xbc\xaf\x27\x1c"
_START = 32
# 100,000 members with long names take 10 MiB.
_LARGEST_HEADER = 64 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive. Its content must be read before the next member is asked for; what is not is skipped."""

    name: str
    size: int
    pieces: Iterator[bytes] = field(repr=False)


def read_members(stream: BinaryIO) -> Iterator[Member]:
    """The files of an archive in order; memory is bounded by the largest dictionary (1 GiB) and the header (64 MiB).

    Raises StoredFault for a damaged archive, one that is encrypted or of another method, and one that would expand to
    more than 1,000 times its size and more than a GiB; also from within a member's content.
    """
    stored = stream.seek(0, 2)
    try:
        header = _header(stream, stored)
    except HeaderError as error:
        raise StoredFault(Broken.bad_header, 0, f"7z: {error}") from None
    total = sum(folder.size for folder in header.folders)
    if total > max(ALWAYS_ALLOWED, MOST_EXPANDED * stored):
        raise StoredFault(Broken.bomb, 0, f"the archive of {stored} bytes would expand to {total} bytes")
    names = iter(header.names)
    for folder in header.folders:
        content = _Content(_decoded(stream, folder, stored))
        for size, checksum in folder.members:
            pieces = content.member(size, checksum)
            yield Member(next(names, ""), size, pieces)
            for _ in pieces:
                pass


def _header(stream: BinaryIO, stored: int) -> Header:
    stream.seek(0)
    start = stream.read(_START)
    if len(start) < _START:
        raise StoredFault(Broken.truncated, 0, "the file ends inside the first 32 bytes of a 7z archive")
    offset, size = (int.from_bytes(start[at : at + 8], "little") for at in (12, 20))
    if zlib.crc32(start[12:32]) != int.from_bytes(start[8:12], "little"):
        raise StoredFault(Broken.bad_checksum, 0, "7z: the first 32 bytes are damaged")
    if _START + offset + size > stored:
        raise StoredFault(Broken.truncated, 0, "the file ends before the header of the 7z archive, which is at its end")
    if size > _LARGEST_HEADER:
        raise HeaderError(f"a header of {size} bytes")
    if not size:
        return Header()
    stream.seek(_START + offset)
    data = stream.read(size)
    if zlib.crc32(data) != int.from_bytes(start[28:32], "little"):
        raise StoredFault(Broken.bad_checksum, _START + offset, "7z: the header is damaged")
    for _ in range(4):  # a compressed header may hold another one
        folders = read_streams(data)
        if folders is None:
            return read_header(data)
        if len(folders) != 1 or folders[0].size > _LARGEST_HEADER:
            raise HeaderError("a compressed header that is too large")
        data = b"".join(_decoded(stream, folders[0], stored))
        if folders[0].checksum not in (None, zlib.crc32(data)):
            raise StoredFault(Broken.bad_checksum, _START + offset, "7z: the compressed header is damaged")
    raise HeaderError("a header inside more than three others")


def _decoded(stream: BinaryIO, folder: Folder, stored: int) -> Iterator[bytes]:
    """The content of a folder: as many bytes as the header says, or StoredFault."""
    start = _START + folder.offset
    if start + folder.stored > stored:
        raise StoredFault(Broken.truncated, start, "7z: the file ends inside its compressed data")
    decoder = decoder_of(folder, start)
    left, position = folder.size, start
    while left:
        stream.seek(position)
        data = stream.read(min(PIECE, start + folder.stored - position))
        position += len(data)
        for piece in decoder.feed(data, left):
            left -= len(piece)
            yield piece
        if left and not data:
            raise StoredFault(Broken.corrupt_member, start, "7z: the compressed data ends early", position)


class _Content:
    """The content of a folder, cut into its members."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def member(self, size: int, checksum: int | None) -> Iterator[bytes]:
        found = 0
        while size:
            piece = self._rest or next(self._pieces, b"")
            if not piece:
                raise StoredFault(Broken.corrupt_member, 0, "7z: the members are larger than their folder")
            piece, self._rest = piece[:size], piece[size:]
            size -= len(piece)
            found = zlib.crc32(piece, found)
            yield piece
        if checksum not in (None, found):
            raise StoredFault(Broken.bad_checksum, 0, "7z: the checksum of a member is wrong")
