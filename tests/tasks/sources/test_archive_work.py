"""The work of reading an archive grows with its size and no faster, whatever stands in it."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from tasks.sources.archives import read_records
from tasks.sources.gzip_members import salvage
from tasks.sources.reasons import Broken
from tests.tasks.sources.samples import lz4_frame, page, read, stored, warc_record, zstd_frame
from tests.tasks.sources.work import Inflater, work_of

RECORD = warc_record(page())
MEMBER = gzip.compress(RECORD, mtime=0)
GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
ABSURD = str(60 << 20)


def deflate_block(data: bytes) -> bytes:
    """A stored block (RFC 1951 section 3.2.4) of a stream that goes on."""
    return b"\0" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data


def names_in_names(count: int) -> bytes:
    """Gzip headers whose file names hold all headers behind them, before a record that breaks."""
    return MEMBER + (b"\x1f\x8b\x08\x08" + b"A" * 6) * count + b"\0" + zlib.compress(RECORD)[2:90] + b"\xff" * 90


def gzip_magics(count: int) -> bytes:
    return MEMBER + GZIP_HEADER * count


def gzip_members_sharing_an_end(count: int) -> bytes:
    """Each begins like a record and goes on into blocks that all members share, and that break at the end."""
    start = deflate_block(b"WARC/1.0\r\nWARC-Type: x\r\n")
    size = len(GZIP_HEADER + start) + 5
    members = [
        GZIP_HEADER + start + b"\0" + struct.pack("<HH", left, left ^ 0xFFFF)
        for left in (min((count - 1 - number) * size, 0xFFFF) for number in range(count))
    ]
    return MEMBER + b"".join(members) + deflate_block(b"q" * 100) * count + b"\7" * 20


def zstd_magics_chained(count: int) -> bytes:
    """Frames of which each block ends where a chain of empty blocks begins that all frames share."""
    frames = [
        b"\x28\xb5\x2f\xfd\0\x58" + (min((count - 1 - number) * 9, 128 << 10) << 3).to_bytes(3, "little")
        for number in range(count)
    ]
    return zstd_frame(RECORD) + b"".join(frames) + b"\0\0\0" * 3 * count


def zstd_magics_before_empty_blocks(count: int) -> bytes:
    return zstd_frame(RECORD) + (b"\x28\xb5\x2f\xfd\0\x58" + b"\0\0\0" * 3) * count


def lz4_magics_chained(count: int) -> bytes:
    frame = lz4_frame(RECORD)
    frames = [frame[:7] + max((count - 1 - number) * 11, 1).to_bytes(4, "little") for number in range(count)]
    return frame + b"".join(frames) + b"\1\0\0\x80a" * 3 * count


def zstd_frames_with_a_dictionary(count: int) -> bytes:
    dictionary = zstd_frame(b"the mill by the river " * 1000)
    start = b"\x5d\x2a\x4d\x18" + len(dictionary).to_bytes(4, "little") + dictionary
    return start + zstd_frame(RECORD) * count


def empty_members(count: int) -> bytes:
    return MEMBER + gzip.compress(b"", mtime=0) * count + MEMBER


def members_of_one_byte(count: int) -> bytes:
    record = warc_record(b"x" * count)
    return b"".join(gzip.compress(record[place : place + 1], mtime=0) for place in range(len(record)))


def line_ends(count: int) -> bytes:
    return MEMBER + gzip.compress(b"\r\n" * 500 * count, mtime=0) + MEMBER


def line_ends_behind_a_record(count: int) -> bytes:
    return gzip.compress(RECORD + b"\n" * 1000 * count, mtime=0) + MEMBER


def lengths_of_60_mib(count: int) -> bytes:
    return b"".join(warc_record(b"x", number=number, Content_Length=ABSURD) for number in range(count))


def lengths_of_60_mib_in_members(count: int) -> bytes:
    records = [warc_record(b"x", number=number, Content_Length=ABSURD) for number in range(count)]
    return stored(records, "gzip")[0] + gzip.compress(b"q", mtime=0) * count


def lengths_of_60_mib_before_members(count: int) -> bytes:
    return gzip.compress(lengths_of_60_mib(count), mtime=0) + gzip.compress(b"q", mtime=0) * count


def lengths_of_60_mib_in_arc(count: int) -> bytes:
    return b"http://mill.example/ 192.0.2.1 20240203040506 text/html %d\nx\n\n" % (60 << 20) * count


def headers_in_headers(count: int) -> bytes:
    end = b"WARC-Type: x\r\nContent-Length: 6000000\r\n\r\n"
    return b"WARC/1.0\r\nA: b\r\n" * count + end + b"z" * 16 * count


def headers_without_an_end(count: int) -> bytes:
    return b"".join(b"WARC/1.0\r\nA: b\r\n" + b"C: d\r\n" * 100 for _ in range(count))


def garbage_in_members_of_one_byte(count: int) -> bytes:
    return MEMBER + gzip.compress(b"z", mtime=0) * count


@pytest.mark.parametrize(
    "attack",
    [
        names_in_names,
        gzip_magics,
        gzip_members_sharing_an_end,
        zstd_magics_chained,
        zstd_magics_before_empty_blocks,
        lz4_magics_chained,
        zstd_frames_with_a_dictionary,
        empty_members,
        members_of_one_byte,
        line_ends,
        line_ends_behind_a_record,
        lengths_of_60_mib,
        lengths_of_60_mib_in_members,
        lengths_of_60_mib_before_members,
        lengths_of_60_mib_in_arc,
        headers_in_headers,
        headers_without_an_end,
        garbage_in_members_of_one_byte,
    ],
)
def test_twice_the_input_is_twice_the_work(attack: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (
        work_of(lambda stream: read_records(stream, "made.warc"), attack(count), monkeypatch) for count in (500, 1000)
    )
    assert large < 2.7 * small


def test_salvaging_is_linear_and_stops_at_the_byte_that_breaks() -> None:
    texts = [b"".join(b"%d by the mill, " % number for number in range(count)) for count in (10_000, 20_000)]
    work = []
    for text in texts:
        stored = zlib.compress(text)
        broken = stored[: len(stored) // 2] + b"\xff" * 200
        found, checkpoint = b"", zlib.decompressobj()
        for place in range(len(broken)):
            try:
                found += checkpoint.decompress(broken[place : place + 1])
            except zlib.error:
                break
        Inflater.fed = 0
        assert salvage(Inflater(), broken) == found != b""  # type: ignore[arg-type]
        assert Inflater.fed < 3 * len(broken)
        work.append(Inflater.fed)
    assert work[1] < 2.5 * work[0]


@pytest.mark.parametrize("behind_a_record", [False, True])
def test_line_ends_without_number_are_not_held(behind_a_record: bool) -> None:
    flood = gzip.compress((RECORD if behind_a_record else b"") + b"\n" * (48 << 20), mtime=0)
    data = MEMBER + flood + MEMBER
    tracemalloc.start()
    records, faults = read(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(records), faults) == (2 + behind_a_record, [])
    assert peak < 4 << 20


def test_a_damaged_member_that_ends_in_line_ends_without_number_yields_no_record() -> None:
    flood = gzip.compress(RECORD + b"\n" * (1 << 20), mtime=0)
    records, faults = read(MEMBER + flood[:-8] + bytes(4) + flood[-4:] + MEMBER)
    assert [record.offset for record in records] == [0, len(MEMBER + flood)]
    assert [(fault.reason, fault.offset) for fault in faults] == [(Broken.bad_checksum, len(MEMBER))]


@pytest.mark.parametrize("attack", [names_in_names, gzip_magics, zstd_magics_before_empty_blocks])
def test_the_record_behind_an_attack_is_read(attack: Callable[[int], bytes]) -> None:
    data = attack(3000)
    behind = zstd_frame(RECORD) if data.startswith(b"\x28") else MEMBER
    records, _ = read(data + behind)
    assert [record.offset for record in records] == [0, len(data)]


@pytest.mark.parametrize("size", [40, 1 << 20, 0xFFFFFFFF])
@pytest.mark.parametrize("magic", [b"\x50\x2a\x4d\x18", b"\x5d\x2a\x4d\x18"])
def test_a_skippable_frame_larger_than_the_file_is_a_fault_and_hides_no_record(magic: bytes, size: int) -> None:
    frame = zstd_frame(RECORD)
    absurd = magic + min(size + 2 * len(frame), 0xFFFFFFFF).to_bytes(4, "little")
    records, faults = read(frame + absurd + frame)
    assert [record.offset for record in records] == [0, len(frame + absurd)]
    assert [fault.offset for fault in faults] == [len(frame)]
    tracemalloc.start()
    records, _ = read(absurd + frame)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [record.offset for record in records] == [len(absurd)]
    assert peak < 4 << 20


def test_a_dictionary_larger_than_allowed_is_not_held() -> None:
    large = b"\x5d\x2a\x4d\x18" + (20 << 20).to_bytes(4, "little") + bytes(20 << 20)
    stream = io.BytesIO(large + zstd_frame(RECORD))
    tracemalloc.start()
    found = list(read_records(stream, "made.warc.zst"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 1
    assert peak < 8 << 20
