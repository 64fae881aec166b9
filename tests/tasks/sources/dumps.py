"""Dumps made in tests: their compressions, and files too large to hold, of which pieces are repeated."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from backports import zstd
from fastwarc.stream_io import Lz4Writer

from infra.outcomes import Dropped, Failed, Found, Kept, Outcome, read_all


def _lz4(data: bytes) -> bytes:
    target = io.BytesIO()
    frame = Lz4Writer(target)
    while data:
        data = data[frame.write(data) :]
    frame.finish()
    frame.flush()
    return target.getvalue()


def long_window(data: bytes) -> bytes:
    """A zstd frame that declares a window of 2^31 bytes, as PushShift's files do."""
    options = {zstd.CompressionParameter.window_log: 31, zstd.CompressionParameter.enable_long_distance_matching: 1}
    compressor = zstd.ZstdCompressor(options=options)
    # Without its size, a frame has the window that was asked for.
    return compressor.compress(data) + compressor.flush()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bzip2": bz2.compress,
    "bzip2 streams": lambda data: b"".join(
        bz2.compress(data[start : start + 999]) for start in range(0, len(data), 999)
    ),
    "xz": lzma.compress,
    "zstd": zstd.compress,
    "zstd with a long window": long_window,
    "lz4": _lz4,
}


class Repeated(io.RawIOBase):
    """A file of a beginning, a piece that is repeated, and an end. It may be read again from its start."""

    def __init__(self, start: bytes, piece: bytes, times: int, end: bytes) -> None:
        self._parts = start, piece, times, end
        self.seek(0)

    @staticmethod
    def _of(start: bytes, piece: bytes, times: int, end: bytes) -> Iterator[bytes]:
        yield start
        for _ in range(times):
            yield piece
        yield end

    def read(self, size: int = -1, /) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, None)) is not None:
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        assert offset == whence == 0
        self._pieces, self._rest = self._of(*self._parts), b""
        return 0


def counts(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many were kept, and dropped or failed for each reason."""
    return dict(Counter("kept" if isinstance(outcome, Kept) else str(outcome.reason) for outcome in outcomes))


def failures(outcomes: Iterable[Outcome]) -> list[tuple[str, int | None]]:
    """Reason and offset of each failure."""
    return [(str(outcome.reason), outcome.offset) for outcome in outcomes if isinstance(outcome, Failed)]


def kept(outcomes: Iterable[Outcome]) -> list[Any]:
    """The documents."""
    return [outcome.document for outcome in outcomes if isinstance(outcome, Kept)]


def peak_of(found: Iterable[Found]) -> tuple[list[Outcome], int]:
    """The outcomes without their documents, and the most memory that Python held while they were read."""
    tracemalloc.start()
    try:
        outcomes = [
            outcome if isinstance(outcome, Dropped | Failed) else Dropped("kept", outcome.bytes, "")
            for outcome in read_all(found)
        ]
        return outcomes, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
