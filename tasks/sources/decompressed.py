"""The decompressed bytes of a dump: plain, gzip, bzip2, xz, zstd with windows of up to 2 GiB, and LZ4."""

from __future__ import annotations

import bz2
import lzma
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from backports import zstd

from tasks.sources.codecs import MAGIC, SKIPPABLE, Codec, StoredFault, detect_codec
from tasks.sources.compression import decode
from tasks.sources.reasons import Broken

PIECE = 1 << 17
_CHUNK = 1 << 15
# PushShift compressed its dumps with `zstd --long=31`, the largest window of the 64-bit decoder. Memory is taken only
# as far as the window is used.
_LARGEST_WINDOW_LOG = 31
# `xz -9` needs 65 MiB; its format allows 4 GiB.
_XZ_MEMORY = 1 << 30
# A file may always hold this much, and otherwise this many times its own size. Dumps shrink to a tenth, or a fiftieth.
ALWAYS_ALLOWED = 1 << 30
MOST_EXPANDED = 1_000
_MOST_FAULTS = 100
_LONGEST_START = 16
_ERRORS = (OSError, lzma.LZMAError, zstd.ZstdError)


def decompressed(stream: BinaryIO) -> Iterator[bytes | StoredFault]:
    """The content of a file in pieces of at most 256 KiB, and damage where it lies. All members of the file count.

    Behind damage, a file of several bzip2, xz or zstd streams goes on with the next one; other files end. It ends, too,
    with content of more than a GiB and more than 1,000 times what was read for it, and with the hundredth fault.
    """
    size = faults = 0
    for piece in in_band(_content(stream)):
        yield piece
        if isinstance(piece, StoredFault):
            faults += 1
            if faults == _MOST_FAULTS:
                return
            continue
        size += len(piece)
        if size > ALWAYS_ALLOWED and size > MOST_EXPANDED * stream.tell():
            detail = f"the first {stream.tell()} bytes expand to more than {size} bytes"
            yield StoredFault(Broken.bomb, 0, detail)
            return


def in_band(pieces: Iterable[bytes | StoredFault]) -> Iterator[bytes | StoredFault]:
    """The pieces, and at their end the fault that they raise."""
    try:
        yield from pieces
    except StoredFault as fault:
        yield fault


def _content(stream: BinaryIO) -> Iterator[bytes | StoredFault]:
    stream.seek(0)
    head = stream.read(8)
    stream.seek(0)
    kind = next((kind for kind in _KINDS if any(head.startswith(magic) for magic in kind.magic)), None)
    if kind is None and SKIPPABLE.match(head):
        kind = _ZSTD
    if kind is not None:
        return _streams(kind, stream)
    return (piece for _, piece in decode(detect_codec(head), stream, 0))


def _streams(kind: _Kind, stream: BinaryIO) -> Iterator[bytes | StoredFault]:
    """The streams of a file; behind a damaged one, from the next that begins like one."""
    start: int | None = 0
    while start is not None:
        stream.seek(start)
        try:
            yield from _members(kind, stream, start)
            return
        except StoredFault as fault:
            yield fault
            start = None if fault.reason is Broken.truncated else _find(kind.start, stream, fault.offset + 1)


def _find(start: re.Pattern[bytes], stream: BinaryIO, offset: int) -> int | None:
    """The place of the next start of a stream."""
    stream.seek(offset)
    held = b""
    while data := stream.read(_CHUNK):
        held += data
        if found := start.search(held):
            return offset + found.start()
        offset += max(len(held) - _LONGEST_START, 0)
        held = held[-_LONGEST_START:]
    return None


class _Decompressor(Protocol):
    """What the decompressors of bz2, lzma and zstd have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


@dataclass(frozen=True)
class _Kind:
    """A format: its name, what begins its streams, what may follow them as padding, and its decompressor.

    `start` is more of the beginning of a stream: what to look for behind damage.
    """

    name: str
    magic: tuple[bytes, ...]
    start: re.Pattern[bytes]
    padding: bytes
    new: Callable[[], _Decompressor]

    def begins(self, head: bytes) -> bool:
        return head.startswith(self.magic) or (self is _ZSTD and SKIPPABLE.match(head) is not None)


def _members(kind: _Kind, stream: BinaryIO, offset: int) -> Iterator[bytes]:
    data = stream.read(_CHUNK)
    while data:
        if len(data) < len(kind.magic[0]):
            data += stream.read(_CHUNK)
        if not kind.begins(data):
            rest = data.lstrip(kind.padding) if kind.padding else data
            if len(rest) == len(data):
                raise StoredFault(Broken.stray_bytes, offset, f"no {kind.name} stream starts where the last one ends")
            offset += len(data) - len(rest)
            data = rest or stream.read(_CHUNK)
            continue
        decompressor = kind.new()
        read = len(data)
        while not decompressor.eof:
            try:
                piece = decompressor.decompress(data, PIECE)
            except _ERRORS as error:
                raise _fault(error, kind, offset) from None
            data = b""
            if piece:
                yield piece
            if not decompressor.eof and decompressor.needs_input:
                data = stream.read(_CHUNK)
                read += len(data)
                if not data:
                    detail = f"the file ends inside a {kind.name} stream"
                    raise StoredFault(Broken.truncated, offset, detail, offset + read)
        data = decompressor.unused_data
        offset += read - len(data)
        data = data or stream.read(_CHUNK)


def _fault(error: Exception, kind: _Kind, offset: int) -> StoredFault:
    detail = f"{kind.name}: {error}"
    check = "checksum" in str(error).lower() or "integrity" in str(error).lower()
    return StoredFault(Broken.bad_checksum if check else Broken.corrupt_member, offset, detail)


def _new_xz() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


def _new_zstd() -> _Decompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _LARGEST_WINDOW_LOG})


# bzip2: each stream of a multistream file begins with the size of blocks, and its first block with the digits of pi.
_BZIP2 = _Kind(
    "bzip2",
    tuple(b"BZh%d" % size for size in range(1, 10)),
    re.compile(rb"BZh[1-9]1AY&SY"),
    b"",
    bz2.BZ2Decompressor,
)
# xz: format 1.1.0, sections 2.1.1.1 and 2.2. zstd: RFC 8878 section 3.1.1.
_XZ = _Kind("xz", (b"\xfd7zXZ\0",), re.compile(rb"\xfd7zXZ\0\0"), b"\0", _new_xz)
_ZSTD = _Kind("zstd", (MAGIC[Codec.zstd],), re.compile(re.escape(MAGIC[Codec.zstd])), b"", _new_zstd)
_KINDS = (_BZIP2, _XZ, _ZSTD)
