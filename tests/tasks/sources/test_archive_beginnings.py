"""What stands before, between and around records costs itself only."""

from __future__ import annotations

import gzip

import pytest

from tasks.sources.reasons import Broken
from tests.tasks.sources.samples import COMPRESSIONS, page, read, stored, warc_record

RESPONSES = [warc_record(page(), number=number) for number in range(3)]
MARK = b"\xef\xbb\xbf"
ARC = [b"http://mill.example/%d 192.0.2.1 20240203040506 text/html 5\nmill\n\n" % number for number in range(3)]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("before", [MARK, MARK + b"\r\n", b"\n\n"])
def test_a_byte_order_mark_before_the_first_record_is_no_fault(compression: str, before: bytes) -> None:
    for texts in (RESPONSES, ARC, [record.replace(b"\r\n", b"\n") for record in RESPONSES]):
        records, faults = read(stored([before + texts[0], *texts[1:]], compression)[0])
        assert (len(records), faults) == (3, [])


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("between", [bytes(1), bytes(70_000), MARK, b"\n" + MARK, bytes(9) + MARK, b"\r"])
@pytest.mark.parametrize("texts", [RESPONSES, ARC])
def test_padding_and_marks_between_records_cost_no_record(compression: str, between: bytes, texts: list[bytes]) -> None:
    data = stored([texts[0], between + texts[1], texts[2]], compression)[0]
    records, faults = read(data)
    assert len(records) == 3
    assert [fault.reason for fault in faults] == ([] if between == b"\r" else [faults[0].reason])
    assert sum(fault.bytes for fault in faults) <= len(between) + 4


@pytest.mark.parametrize("compression", ["gzip", "zstd", "lz4"])
def test_padding_between_members_costs_no_record(compression: str) -> None:
    pieces = [stored([record], compression)[0] for record in RESPONSES]
    for between in (bytes(5), bytes(100_000), MARK):
        records, faults = read(pieces[0] + between + pieces[1] + pieces[2])
        assert len(records) == 3
        assert [(fault.reason, fault.offset) for fault in faults] == [(Broken.stray_bytes, len(pieces[0]))]


@pytest.mark.parametrize("texts", [RESPONSES, ARC])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(
    "first", [b"\0" * 3_000_000, b"no record\n", b"\n".join([b"a line"] * 50_000), b"\0" * 9 + MARK, b"\xff" * 9]
)
def test_records_behind_a_beginning_that_is_no_record_are_read(
    compression: str, first: bytes, texts: list[bytes]
) -> None:
    """As when the first member was overwritten: a sound one of zeros, or text."""
    separator = b"\n" if compression == "none" else b""
    data, offsets = stored([first + separator, *texts], compression)
    records, faults = read(data)
    assert [record.offset for record in records] == offsets[1:]
    assert [(fault.reason, fault.offset) for fault in faults] == [(Broken.stray_bytes, 0)]
    assert faults[0].bytes == len(first + separator)


@pytest.mark.parametrize("texts", [RESPONSES, ARC])
@pytest.mark.parametrize(
    ("compression", "broken"),
    [
        ("gzip", 0),
        ("gzip", 2),
        ("gzip", 30),
        ("zstd", 0),
        ("zstd", 3),
        ("zstd", 30),
        ("lz4", 0),
        ("lz4", 3),
        ("lz4", 5),
    ],
)
def test_records_behind_a_first_member_that_is_damaged_are_read(
    compression: str, broken: int, texts: list[bytes]
) -> None:
    data, offsets = stored(texts, compression)
    damaged = data[:broken] + bytes([data[broken] ^ 0x55]) + data[broken + 1 :]
    records, faults = read(damaged)
    assert [record.offset for record in records] == offsets[1:]
    assert [fault.offset for fault in faults] == [0]
    assert faults[0].reason is not Broken.not_an_archive


def test_members_without_any_record_are_no_archive() -> None:
    for data in (gzip.compress(b"text\n" * 99_999) * 3, bytes(1_000_000), b"\x1f" * 90_000):
        records, faults = read(data)
        assert (records, [(fault.reason, fault.bytes) for fault in faults]) == (
            [],
            [(Broken.not_an_archive, len(data))],
        )


@pytest.mark.parametrize("end", [b"", b"\r\n", b"Content-Length: 5\r\n"])
def test_a_header_cut_before_the_next_record_costs_that_record_only(end: bytes) -> None:
    cut = b"WARC/1.0\r\nWARC-Type: response\r\n" + end
    records, faults = read(RESPONSES[0] + cut + RESPONSES[1])
    assert len(records) == 2
    assert [(fault.reason, fault.offset, fault.bytes) for fault in faults] == [
        (Broken.bad_header, len(RESPONSES[0]), len(cut))
    ]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "lz4"])
@pytest.mark.parametrize("magic", [b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd\0\x58\0\0\0", b"\x04\x22\x4d\x18"])
def test_a_file_that_begins_like_another_compression_is_read(compression: str, magic: bytes) -> None:
    data, offsets = stored(RESPONSES, compression)
    records, faults = read(magic + data)
    assert [record.offset for record in records] == [offset + len(magic) for offset in offsets]
    assert [(fault.offset, fault.reason is Broken.not_an_archive) for fault in faults] == [(0, False)]


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("media_type", [b"text/html; charset=utf-8", b"", b"a b c"])
def test_an_arc_record_that_cannot_be_read_is_told_and_no_part_of_the_one_before_it(
    line_end: bytes, before: int, media_type: bytes
) -> None:
    def record(media_type: bytes = b"text/html") -> bytes:
        return b"http://mill.example/ 1.2.3.4 20200101000000 %b %d\n%b\n" % (media_type, len(block), block)

    block = page().replace(b"\r\n", line_end)
    lines = b"1 0 Mill\nURL IP-address Archive-date Content-type Archive-length\n"
    version = b"filedesc://mill.arc 0.0.0.0 20200101000000 text/plain %d\n%b\n" % (len(lines), lines)
    records, faults = read(version + record() * before + record(media_type) + record())
    assert [item.block for item in records] == [b""] + [block] * (before + 1)
    assert [fault.reason for fault in faults] == [Broken.bad_content_length]


def test_a_warc_record_with_bare_line_feeds_ends_where_its_length_and_blank_lines_say() -> None:
    def record(number: int) -> bytes:
        return warc_record(block, number=number, Content_Length=str(len(block))).replace(b"\r\n", b"\n")

    block = page().replace(b"\r\n", b"\n")
    records, faults = read(record(1) + record(2).replace(b"WARC/1.0", b"warc/1.0") + record(3))
    assert [item.block for item in records] == [block, block]
    assert [fault.reason for fault in faults] == [Broken.bad_content_length]
