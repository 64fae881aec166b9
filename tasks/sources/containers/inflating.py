"""The decompressed bytes of a stored file, in order: gzip, bzip2, xz, zstd, LZ4 or none."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from tasks.sources.codecs import Codec, StoredFault, detect_codec
from tasks.sources.compression import decode
from tasks.sources.containers.faults import Limits, TooMuch
from tasks.sources.reasons import Broken

_CHUNK = 1 << 16
_PIECE = 1 << 18
_BZIP2, _XZ = b"BZh", b"\xfd7zXZ\0"
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")  # of data, and of the end of an empty file
# `xz -9` needs 65 MiB; a header may ask for 4 GiB.
_XZ_MEMORY = 256 << 20


class Inflated:
    """A cursor over the decompressed bytes of a file. `position` counts them.

    Raises StoredFault at damage, and TooMuch where the file becomes larger than the limits allow.
    """

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        self._stream, self._limits = stream, limits
        stream.seek(0)
        head = stream.read(16)
        self.compressed = detect_codec(head) is not Codec.none or _other(head) is not None
        self._pieces = _pieces(stream, head)
        self._held = bytearray()
        self._inflated = 0
        self.position = 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer at the end of the file."""
        self._hold(size)
        data = bytes(memoryview(self._held)[:size])
        del self._held[:size]
        self.position += len(data)
        return data

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, which stay; fewer at the end of the file."""
        self._hold(size)
        return bytes(memoryview(self._held)[:size])

    def skip(self, size: int) -> int:
        """Pass `size` bytes; return how many there were."""
        start = self.position
        while (left := start + size - self.position) > 0 and self.read(min(left, _PIECE)):
            pass
        return self.position - start

    def _hold(self, size: int) -> None:
        while len(self._held) < size and (piece := next(self._pieces, None)) is not None:
            self._held += piece
            self._inflated += len(piece)
            if self._inflated > self._limits.free_bytes + self._limits.ratio * self._stream.tell():
                raise TooMuch(f"{self._inflated} bytes came of the first {self._stream.tell()}")


class _Inflater(Protocol):
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


def _pieces(stream: BinaryIO, head: bytes) -> Iterator[bytes]:
    other = _other(head)
    if other is not None:
        return _streams(stream, other)
    return (piece for _, piece in decode(detect_codec(head), stream, 0))


def _other(head: bytes) -> bytes | None:
    if head.startswith(_BZIP2) and head[4:10] in _BZIP2_BLOCKS:
        return _BZIP2
    return _XZ if head.startswith(_XZ) else None


def _inflater(magic: bytes) -> _Inflater:
    if magic == _BZIP2:
        return bz2.BZ2Decompressor()
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


def _streams(stream: BinaryIO, magic: bytes) -> Iterator[bytes]:
    """The bytes of all bzip2 or xz streams of a file, which may have zeros between them. Raises StoredFault."""
    stream.seek(0)
    offset, data = 0, stream.read(_CHUNK)
    while data:
        inflater = _inflater(magic)
        size = 0
        while not inflater.eof:
            if inflater.needs_input and not data:
                raise StoredFault(Broken.truncated, offset, "the file ends inside a compressed stream")
            try:
                piece = inflater.decompress(data, _PIECE)
            except (OSError, lzma.LZMAError) as error:
                raise StoredFault(Broken.corrupt_member, offset, str(error)) from None
            size += len(data)
            yield piece
            data = stream.read(_CHUNK) if inflater.needs_input and not inflater.eof else b""
        offset += size - len(inflater.unused_data)
        data = inflater.unused_data
        while not data.lstrip(b"\0") and (more := stream.read(_CHUNK)):
            offset += len(data)
            data = more
        offset += len(data) - len(data.lstrip(b"\0"))
        data = data.lstrip(b"\0")
        if 0 < len(data) < len(magic):
            data += stream.read(_CHUNK)
        if data and not data.startswith(magic):
            raise StoredFault(Broken.stray_bytes, offset, "no stream starts where the last one ends")
