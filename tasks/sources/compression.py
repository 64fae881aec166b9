"""Reads compressed files member by member, with the stored offset and the damage of each member."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import BinaryIO

from fastwarc.stream_io import Lz4Reader, ZstdReader

from tasks.sources.reasons import Broken

_CHUNK = 1 << 15
_LARGEST_DICTIONARY = 1 << 24
_ZSTD_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_ZSTD_WARC_DICTIONARY = b"\x5d\x2a\x4d\x18"


class Codec(StrEnum):
    """The compression of an archive, detected from its first bytes."""

    none = "none"
    gzip = "gzip"
    zstd = "zstd"
    lz4 = "lz4"


class StoredFault(Exception):
    """The stored bytes cannot be decompressed from the member at `offset` on."""

    def __init__(self, reason: Broken, offset: int, detail: str) -> None:
        super().__init__(f"{reason} at byte {offset}: {detail}")
        self.reason = reason
        self.offset = offset
        self.detail = detail


def detect_codec(head: bytes) -> Codec:
    """Detect the codec from the magic bytes in `head` (at least 4 bytes, unless the file is shorter).

    Magic bytes: gzip RFC 1952 section 2.3.1 with its only method, zstd RFC 8878 section 3.1.1 and (for dictionaries and
    skippable frames) 3.1.2, LZ4 frame format 1.6.
    """
    if head.startswith(_MAGIC[Codec.gzip]):
        return Codec.gzip
    if head.startswith(_MAGIC[Codec.zstd]) or _ZSTD_SKIPPABLE.match(head):
        return Codec.zstd
    if head.startswith(_MAGIC[Codec.lz4]):
        return Codec.lz4
    return Codec.none


def decode(codec: Codec, stream: BinaryIO, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the decompressed bytes from the member at `start` on, in pieces, each with the stored offset of its member.

    A member is a gzip member, a zstd or LZ4 frame, or a whole uncompressed file. Pieces are at most 256 KiB, whatever
    the size of the decompressed member. Raises StoredFault at damage, after yielding everything before it.
    """
    return _DECODERS[codec](stream, start)


def next_member(codec: Codec, stream: BinaryIO, start: int, wanted: Callable[[bytes], bool]) -> int | None:
    """The offset of the first member from `start` on whose first piece satisfies `wanted`; None if there is none."""
    magic = _MAGIC.get(codec)
    if magic is None:
        return None
    carry = b""
    position = start
    while True:
        stream.seek(position)
        data = carry + stream.read(_CHUNK)
        base = position - len(carry)
        if len(data) == len(carry):
            return None
        found = data.find(magic)
        while found != -1:
            if _begins(codec, stream, base + found, wanted):
                return base + found
            found = data.find(magic, found + 1)
        position = base + len(data)
        carry = data[1 - len(magic) :]


def salvage(checkpoint: zlib._Decompress, data: bytes) -> bytes:
    """Inflate `data` up to the byte that breaks it."""
    pieces = []
    for index in range(len(data)):
        try:
            pieces.append(checkpoint.decompress(data[index : index + 1]))
        except zlib.error:
            break
    return b"".join(pieces)


def _begins(codec: Codec, stream: BinaryIO, offset: int, wanted: Callable[[bytes], bool]) -> bool:
    try:
        member, data = next(decode(codec, stream, offset))
    except (StoredFault, StopIteration):
        return False
    return member == offset and wanted(data)


def _plain(stream: BinaryIO, start: int) -> Iterator[tuple[int, bytes]]:
    stream.seek(start)
    while data := stream.read(_CHUNK):
        yield start, data


def _gzip_members(stream: BinaryIO, start: int) -> Iterator[tuple[int, bytes]]:
    offset = start
    stream.seek(start)
    data = stream.read(_CHUNK)
    while data:
        if len(data) < 4:
            data += stream.read(_CHUNK)
        if not data.startswith(_MAGIC[Codec.gzip]):
            if _only_zeros(stream, data):
                return
            raise _no_member(data, Codec.gzip, offset)
        inflater = zlib.decompressobj(wbits=31)
        size = 0
        while not inflater.eof:
            if not data:
                data = stream.read(_CHUNK)
                if not data:
                    raise StoredFault(Broken.truncated, offset, "the file ends inside a gzip member")
            checkpoint = inflater.copy()
            try:
                decompressed = inflater.decompress(data, 8 * _CHUNK)
            except zlib.error as error:
                yield offset, salvage(checkpoint, data)
                check = "incorrect data check" in str(error) or "incorrect length check" in str(error)
                raise StoredFault(Broken.bad_checksum if check else Broken.corrupt_member, offset, str(error)) from None
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            size += len(data) - len(rest)
            data = rest
            yield offset, decompressed
        offset += size
        data = data or stream.read(_CHUNK)


def _no_member(head: bytes, codec: Codec, offset: int) -> StoredFault:
    if _MAGIC[codec].startswith(head):
        return StoredFault(Broken.truncated, offset, f"the file ends inside the first bytes of a {codec} member")
    return StoredFault(Broken.stray_bytes, offset, f"no {codec} member starts where the last one ends")


def _only_zeros(stream: BinaryIO, data: bytes) -> bool:
    """Whether only the zero padding of a tape block follows."""
    while data:
        if data.strip(b"\0"):
            return False
        data = stream.read(_CHUNK)
    return True


class _Frame:
    """One stored frame as a file-like object for FastWARC's readers."""

    def __init__(self, stream: BinaryIO, start: int, end: int) -> None:
        self._stream, self._start, self._end, self._position = stream, start, end, start

    def read(self, size: int = -1) -> bytes:
        left = self._end - self._position
        self._stream.seek(self._position)
        data = self._stream.read(left if size < 0 else min(size, left))
        self._position += len(data)
        return data

    def tell(self) -> int:
        return self._position - self._start

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (self._start, self._position, self._end)[whence]
        return self.tell()

    def close(self) -> None:
        """Does nothing: the archive file stays open after its frames."""


def _framed(
    stream: BinaryIO,
    start: int,
    codec: Codec,
    measure: Callable[[BinaryIO, int], int],
    reader: Callable[[_Frame, bytes | None], ZstdReader | Lz4Reader],
) -> Iterator[tuple[int, bytes]]:
    length = stream.seek(0, 2)
    offset = start
    dictionary = _dictionary(stream, 0)
    while offset < length:
        stream.seek(offset)
        head = stream.read(8)
        if _ZSTD_SKIPPABLE.match(head):
            dictionary = _dictionary(stream, offset) or dictionary
            offset += 8 + int.from_bytes(head[4:8], "little")
            continue
        if not head.startswith(_MAGIC[codec]):
            raise _no_member(head, codec, offset)
        end = measure(stream, offset)
        frame = reader(_Frame(stream, offset, min(end, length)), dictionary)
        size = 0
        while True:
            try:
                data = frame.read(_CHUNK)
            except OSError as error:
                check = "checksum" in str(error).lower()
                reason = Broken.bad_checksum if check else Broken.corrupt_member
                reason = Broken.truncated if end > length else reason
                raise StoredFault(reason, offset, str(error)) from None
            if not data:
                break
            size += len(data)
            yield offset, data
        if end > length:
            raise StoredFault(Broken.truncated, offset, "the file ends inside a frame")
        offset = end


def _dictionary(stream: BinaryIO, offset: int) -> bytes | None:
    """The dictionary in the frame at `offset`, for all frames after it. Expected in the first frame of a file."""
    stream.seek(offset)
    head = stream.read(8)
    return stream.read(int.from_bytes(head[4:8], "little")) if head.startswith(_ZSTD_WARC_DICTIONARY) else None


def _zstd_frames(stream: BinaryIO, start: int) -> Iterator[tuple[int, bytes]]:
    return _framed(stream, start, Codec.zstd, _zstd_frame_end, _zstd_reader)


def _zstd_reader(frame: _Frame, dictionary: bytes | None) -> ZstdReader:
    if dictionary is not None and dictionary.startswith(_MAGIC[Codec.zstd]):
        dictionary = ZstdReader(io.BytesIO(dictionary)).read(_LARGEST_DICTIONARY)
    return ZstdReader(frame, dictionary=dictionary)


def _lz4_frames(stream: BinaryIO, start: int) -> Iterator[tuple[int, bytes]]:
    return _framed(stream, start, Codec.lz4, _lz4_frame_end, lambda frame, _: Lz4Reader(frame))


def _zstd_frame_end(stream: BinaryIO, offset: int) -> int:
    """The stored offset after the frame at `offset`, from its block headers (RFC 8878 sections 3.1.1.1 and 3.1.1.2).

    It exceeds the size of the file if the frame is truncated.
    """
    stream.seek(offset + 4)
    descriptor = (stream.read(1) or b"\0")[0]
    single_segment = descriptor >> 5 & 1
    content_size = (single_segment, 2, 4, 8)[descriptor >> 6]
    position = offset + 5 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3] + content_size
    while True:
        stream.seek(position)
        header = stream.read(3)
        position += 3
        if len(header) < 3:
            return position + 1
        block = int.from_bytes(header, "little")
        position += 1 if block >> 1 & 3 == 1 else block >> 3
        if block & 1:
            return position + 4 * (descriptor >> 2 & 1)


def _lz4_frame_end(stream: BinaryIO, offset: int) -> int:
    """The stored offset after the frame at `offset`, from its block sizes (LZ4 frame format 1.6).

    It exceeds the size of the file if the frame is truncated.
    """
    stream.seek(offset + 4)
    flags = (stream.read(1) or b"\0")[0]
    position = offset + 4 + 2 + 8 * (flags >> 3 & 1) + 4 * (flags & 1) + 1
    while True:
        stream.seek(position)
        header = stream.read(4)
        position += 4
        if len(header) < 4:
            return position + 1
        block = int.from_bytes(header, "little")
        if block == 0:
            return position + 4 * (flags >> 2 & 1)
        position += (block & 0x7FFFFFFF) + 4 * (flags >> 4 & 1)


_MAGIC = {Codec.gzip: b"\x1f\x8b\x08", Codec.zstd: b"\x28\xb5\x2f\xfd", Codec.lz4: b"\x04\x22\x4d\x18"}
_DECODERS: dict[Codec, Callable[[BinaryIO, int], Iterator[tuple[int, bytes]]]] = {
    Codec.none: _plain,
    Codec.gzip: _gzip_members,
    Codec.zstd: _zstd_frames,
    Codec.lz4: _lz4_frames,
}
