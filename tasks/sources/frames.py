"""Reads zstd and LZ4 frames with FastWARC's decoders, one frame at a time."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, ClassVar

from fastwarc.stream_io import Lz4Reader, ZstdReader

from tasks.sources.codecs import MAGIC, SKIPPABLE, Codec, StoredFault, no_member
from tasks.sources.reasons import Broken

_CHUNK = 1 << 15
_DICTIONARY_MAGIC = b"\x5d\x2a\x4d\x18"
# The decoder copies the dictionary for every frame. zstd's own tool makes dictionaries of 110 KiB by default.
_LARGEST_DICTIONARY = 4 << 20
_LARGEST_ZSTD_BLOCK = 128 << 10  # RFC 8878 section 3.1.1.2.4
_RESERVED, _REPEATED = 3, 1  # block types, RFC 8878 section 3.1.1.2.2
_LARGEST_LZ4_BLOCK = 4 << 20  # LZ4 frame format 1.6, block maximum size
_EMPTY_BLOCKS = 16
_PROOF = 8 << 10


class FramedMembers(ABC):
    """The frames of a file as members."""

    codec: ClassVar[Codec]

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._length = stream.seek(0, 2)
        self._loaded: tuple[int, bytes] | None = None

    def decode(self, start: int) -> Iterator[tuple[int, bytes]]:
        """As `tasks.sources.compression.decode`. Raises StoredFault."""
        offset = start
        dictionary = self._dictionary(0)
        while offset < self._length:
            head = self._read(offset, 8)
            if SKIPPABLE.match(head):
                dictionary = self._dictionary(offset) or dictionary
                offset = self._behind_skippable(offset, head)
                continue
            if not head.startswith(MAGIC[self.codec]):
                raise no_member(head, self.codec, offset)
            end, sound = self._frame_end(offset)
            reached = min(end, self._length)
            frame = self._reader(_Frame(self._stream, offset, reached), self._decoded(dictionary))
            while True:
                try:
                    data = frame.read(_CHUNK)
                except OSError as error:
                    check = "checksum" in str(error).lower()
                    reason = Broken.bad_checksum if check else Broken.corrupt_member
                    reason = Broken.truncated if end > self._length else reason
                    raise StoredFault(reason, offset, str(error), reached) from None
                if not data:
                    break
                yield offset, data
            if end > self._length:
                raise StoredFault(Broken.truncated, offset, "the file ends inside a frame", reached)
            if not sound:
                raise StoredFault(Broken.corrupt_member, offset, "a block is larger than the format allows", reached)
            offset = end

    def beginning(self, offset: int) -> tuple[bytes, int]:
        """The first bytes of the frame at `offset`, and the stored bytes that were decoded for them.

        Only the first block that is not empty is decoded. There are no bytes if the frame is damaged up to there, or
        begins with many empty blocks.
        """
        position, flags = self._header(offset)
        for _ in range(_EMPTY_BLOCKS):
            block = self._block(position, flags)
            if block is None:
                break
            if block.size or block.last:
                end = min(block.end, self._length)
                return self._first_bytes(offset, end), end - offset
            position = block.end
        return b"", 0

    def _first_bytes(self, offset: int, end: int) -> bytes:
        try:
            frame = self._reader(_Frame(self._stream, offset, end), self._decoded(self._dictionary(0)))
            return frame.read(_PROOF)
        except OSError:
            return b""

    def _frame_end(self, offset: int) -> tuple[int, bool]:
        """The stored offset after the frame at `offset`, from its block headers, and whether all of them are valid.

        It exceeds the size of the file if the frame is truncated. At an invalid block it is the end of the block's
        header.
        """
        position, flags = self._header(offset)
        while True:
            block = self._block(position, flags)
            if block is None:
                return min(position + 4, self._length), False
            if block.last:
                return block.end, True
            position = block.end

    def _behind_skippable(self, offset: int, head: bytes) -> int:
        end = offset + 8 + int.from_bytes(head[4:8], "little")
        if len(head) < 8 or end > self._length:
            raise StoredFault(Broken.truncated, offset, "the file ends inside a skippable frame", offset + len(head))
        return end

    def _dictionary(self, offset: int) -> tuple[int, int] | None:
        """Offset and size of the dictionary in the frame at `offset`. Expected in the first frame of a file."""
        head = self._read(offset, 8)
        size = int.from_bytes(head[4:8], "little")
        return (offset + 8, size) if head.startswith(_DICTIONARY_MAGIC) else None

    def _decoded(self, dictionary: tuple[int, int] | None) -> bytes | None:
        return None if dictionary is None else self._load_dictionary(*dictionary)

    def _load_dictionary(self, offset: int, size: int) -> bytes:
        if self._loaded is None or self._loaded[0] != offset:
            stored = self._read(offset, size) if size <= _LARGEST_DICTIONARY else b""
            self._loaded = offset, _inflated(stored) if stored.startswith(MAGIC[Codec.zstd]) else stored
        return self._loaded[1]

    def _read(self, offset: int, size: int) -> bytes:
        self._stream.seek(offset)
        return self._stream.read(size)

    @abstractmethod
    def _header(self, offset: int) -> tuple[int, int]:
        """The offset of the first block of the frame at `offset`, and the frame's flags."""

    @abstractmethod
    def _block(self, position: int, flags: int) -> _Block | None:
        """The block at `position`; None if the format does not allow it. Its end exceeds a truncated file."""

    @abstractmethod
    def _reader(self, frame: _Frame, dictionary: bytes | None) -> ZstdReader | Lz4Reader: ...


class ZstdMembers(FramedMembers):
    """zstd frames (RFC 8878), with the dictionary of the WARC/zstd specification."""

    codec = Codec.zstd

    def _header(self, offset: int) -> tuple[int, int]:
        flags = (self._read(offset + 4, 1) or b"\0")[0]
        single_segment = flags >> 5 & 1
        content_size = (single_segment, 2, 4, 8)[flags >> 6]
        return offset + 5 + (1 - single_segment) + (0, 1, 2, 4)[flags & 3] + content_size, flags

    def _block(self, position: int, flags: int) -> _Block | None:
        header = self._read(position, 3)
        if len(header) < 3:
            return _Block(self._length + 1, 0, last=True)
        block = int.from_bytes(header, "little")
        kind, size, last = block >> 1 & 3, block >> 3, bool(block & 1)
        if kind == _RESERVED or size > _LARGEST_ZSTD_BLOCK:
            return None
        checksum = 4 * (flags >> 2 & 1) if last else 0
        return _Block(position + 3 + (1 if kind == _REPEATED else size) + checksum, size, last)

    def _reader(self, frame: _Frame, dictionary: bytes | None) -> ZstdReader:
        return ZstdReader(frame, dictionary=dictionary)


class Lz4Members(FramedMembers):
    """LZ4 frames (frame format 1.6)."""

    codec = Codec.lz4

    def _header(self, offset: int) -> tuple[int, int]:
        flags = (self._read(offset + 4, 1) or b"\0")[0]
        return offset + 4 + 2 + 8 * (flags >> 3 & 1) + 4 * (flags & 1) + 1, flags

    def _block(self, position: int, flags: int) -> _Block | None:
        header = self._read(position, 4)
        if len(header) < 4:
            return _Block(self._length + 1, 0, last=True)
        if not any(header):
            return _Block(position + 4 + 4 * (flags >> 2 & 1), 0, last=True)
        size = int.from_bytes(header, "little") & 0x7FFFFFFF
        if size > _LARGEST_LZ4_BLOCK:
            return None
        return _Block(position + 4 + size + 4 * (flags >> 4 & 1), size, last=False)

    def _reader(self, frame: _Frame, dictionary: bytes | None) -> Lz4Reader:
        return Lz4Reader(frame)


@dataclass(frozen=True, slots=True)
class _Block:
    """`end`: the stored offset behind it. `size`: its stored bytes, or decompressed ones if it repeats one byte."""

    end: int
    size: int
    last: bool


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


def _inflated(stored: bytes) -> bytes:
    try:
        return ZstdReader(io.BytesIO(stored)).read(_LARGEST_DICTIONARY)
    except OSError:
        return b""
