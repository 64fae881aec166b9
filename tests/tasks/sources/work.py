"""Counts the work of reading: calls, bytes read from the stream, and bytes given to inflaters. Never seconds."""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from isal import igzip_lib


class CountingStream(io.BytesIO):
    """A file in memory that counts the bytes read from it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


_INFLATER: Any = zlib.decompressobj


class Inflater:
    """An inflater that counts the bytes given to all of them, and the bytes of state copied."""

    fed = 0

    def __init__(self, *args: int, state: Any = None, **named: int) -> None:
        self.state = state or _INFLATER(*args, **named)

    def copy(self) -> Inflater:
        Inflater.fed += 1
        return Inflater(state=self.state.copy())

    def decompress(self, data: bytes, *most: int) -> bytes:
        try:
            result: bytes = self.state.decompress(data, *most)
        except zlib.error:
            Inflater.fed += len(data)
            raise
        rest = self.state.unconsumed_tail or self.state.unused_data
        Inflater.fed += max(len(data) - len(rest), 0)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self.state, name)


_FAST_INFLATER: Any = igzip_lib.IgzipDecompressor


class FastInflater:
    """The same for ISA-L's inflater, whose state is not copied. Its bytes count as those of `Inflater`."""

    def __init__(self, **named: int) -> None:
        self.state = _FAST_INFLATER(**named)

    def decompress(self, data: bytes, most: int) -> bytes:
        Inflater.fed += len(data)
        result: bytes = self.state.decompress(data, most)
        Inflater.fed -= len(self.state.unused_data)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self.state, name)


def work_of(read: Callable[[io.BytesIO], Iterator[object]], data: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    """Calls, and bytes read and inflated, of reading a whole file."""
    stream = CountingStream(data)
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    with monkeypatch.context() as patch:
        Inflater.fed = 0
        patch.setattr(zlib, "decompressobj", Inflater)
        patch.setattr(igzip_lib, "IgzipDecompressor", FastInflater)
        sys.setprofile(count)
        try:
            for _ in read(stream):
                pass
        finally:
            sys.setprofile(None)
    return calls + stream.count + Inflater.fed
