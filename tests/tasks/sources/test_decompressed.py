"""Compressed dumps: every format with all of its members, damage, and files that expand without end."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, cast

import pytest
from backports import zstd

import tasks.sources.decompressed
from tasks.sources.codecs import StoredFault
from tasks.sources.decompressed import decompressed
from tests.tasks.sources.dumps import COMPRESSIONS, long_window

TEXT = b"".join(b"line %d of a dump\n" % number for number in range(20_000))
SKIPPABLE = b"\x5a\x2a\x4d\x18\x04\0\0\0abcd"


def read(data: bytes) -> tuple[bytes, str | None]:
    """What is decompressed, and the reasons why something is missing."""
    pieces: list[bytes] = []
    reasons: list[str] = []
    for piece in decompressed(io.BytesIO(data)):
        if isinstance(piece, StoredFault):
            reasons.append(str(piece.reason))
        else:
            assert len(piece) <= 256 << 10
            pieces.append(piece)
    return b"".join(pieces), " ".join(reasons) or None


@pytest.mark.parametrize("compression", sorted(COMPRESSIONS))
def test_every_member_is_read(compression: str) -> None:
    compress = COMPRESSIONS[compression]
    assert read(compress(TEXT)) == (TEXT, None)
    assert read(compress(TEXT[:100]) + compress(TEXT[100:])) == (TEXT, None)


@pytest.mark.parametrize(
    "data",
    [
        lzma.compress(TEXT[:100]) + bytes(8) + lzma.compress(TEXT[100:]) + bytes(4),
        SKIPPABLE + zstd.compress(TEXT[:100]) + SKIPPABLE + zstd.compress(TEXT[100:]) + SKIPPABLE,
        bz2.compress(b"") * 10_000 + bz2.compress(TEXT),
    ],
    ids=["padding of xz", "skippable frames of zstd", "empty streams of bzip2"],
)
def test_what_stands_between_members_is_passed(data: bytes) -> None:
    assert read(data) == (TEXT, None)


def test_windows_of_two_gibibytes_are_read_with_the_memory_that_they_use() -> None:
    frame = long_window(TEXT)
    # RFC 8878 section 3.1.1.1.2: an exponent of 21 above 2^10.
    assert frame[5] >> 3 == 21
    assert read(frame) == (TEXT, None)


@pytest.mark.parametrize("compression", sorted(set(COMPRESSIONS) - {"plain"}))
def test_damage_is_a_fault_behind_what_lies_before_it(compression: str) -> None:
    data = COMPRESSIONS[compression](TEXT)
    found, reason = read(data[:-5])
    assert reason == "truncated"
    assert TEXT.startswith(found)
    found, reason = read(data + b"more")
    assert (found, reason) == (TEXT, "stray_bytes")
    middle = len(data) // 2
    _, reason = read(data[:middle] + bytes(byte ^ 0x55 for byte in data[middle : middle + 9]) + data[middle + 9 :])
    # These were written without a checksum.
    assert reason in ("corrupt_member", "bad_checksum") or (compression.startswith(("zstd", "lz4")) and reason is None)


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress, zstd.compress], ids=["bzip2", "xz", "zstd"])
def test_a_bomb_is_given_in_pieces(compress: Callable[[bytes], bytes]) -> None:
    data = compress(bytes(64 << 20))
    pieces = decompressed(cast(BinaryIO, io.BytesIO(data)))
    for _ in range(9):
        piece = next(pieces)
        assert isinstance(piece, bytes) and len(piece) <= 256 << 10


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress, zstd.compress], ids=["bzip2", "xz", "zstd"])
def test_behind_damage_the_next_stream_is_read(compress: Callable[[bytes], bytes]) -> None:
    texts = [TEXT[start : start + 9_000] for start in (0, 50_000, 100_000)]
    first, second, third = map(compress, texts)
    middle = len(second) // 2
    broken = second[:middle] + bytes(99) + second[middle + 99 :]
    found, reason = read(first + broken + third)
    if compress is zstd.compress and reason is None:
        return  # without a checksum, some damage is content
    assert reason in ("corrupt_member", "bad_checksum")
    assert found.startswith(texts[0]) and found.endswith(texts[2])
    found, reason = read(first + b"stray" * 20_000 + third + second[:-9])
    assert found.startswith(texts[0] + texts[2])
    assert reason == "stray_bytes truncated"


def test_a_file_of_damage_is_given_up() -> None:
    piece = bz2.compress(TEXT[:500])[:60]
    _, reasons = read(piece * 5_000)
    assert reasons is not None and len(reasons.split()) == 100


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.sources.decompressed, "ALWAYS_ALLOWED", 1 << 20)
    found, reason = read(bz2.compress(bytes(64 << 20)))
    assert reason == "bomb" and len(found) < 2 << 20
    assert read(TEXT * 9)[1] is None


def test_an_xz_dictionary_beyond_the_limit_is_a_fault() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1}]
    data = bytearray(lzma.compress(TEXT, lzma.FORMAT_XZ, filters=filters))
    # The property of LZMA2 is the dictionary's size (xz format 1.1.0, section 5.3.1): 40 is 4 GiB less one byte. The
    # header of the block has its own checksum.
    place = data.index(b"\x21\x01", 12) + 2
    data[place] = 40
    header = bytes(data[12 : 12 + (data[12] + 1) * 4 - 4])
    data[12 + len(header) : 16 + len(header)] = zlib.crc32(header).to_bytes(4, "little")
    assert read(bytes(data)) == (b"", "corrupt_member")
