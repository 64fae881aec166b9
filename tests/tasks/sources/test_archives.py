from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import random
import tracemalloc
import zlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import xxhash
from fastwarc.warc import ArchiveIterator

from tasks.sources.archives import ArchiveFault, ArchiveRecord, read_records
from tasks.sources.http import payload_of
from tasks.sources.reasons import Broken
from tests.tasks.sources.samples import COMPRESSIONS, lz4_frame, page, read, stored, warc_record, zstd_frame

RESPONSES = [warc_record(page(), number=number) for number in range(4)]
WHOLE_IN_WARCIO = [
    "aut-iah2008.arc.gz",
    "aut-iah2008.warc.gz",
    "aut-txt.warc.gz",
    "blackbook.arc",
    "blackbook.arc.gz",
    "blackbook.warc",
    "blackbook.warc.gz",
    "dolma-sample-0000.warc.gz",
    "resiliparse-warcfile.warc.gz",
    "warcio-example.arc",
    "warcio-example.arc.gz",
    "warcio-example.warc",
    "warcio-example.warc.gz",
    "warcio-iana-chunked.warc",
    "warcio-post-test.warc.gz",
    "warcio-resource.warc.gz",
    "whirlwind.warc",
    "whirlwind.warc.gz",
    "whirlwind.warc.wat.gz",
    "whirlwind.warc.wet",
    "whirlwind.warc.wet.gz",
]
DAMAGE = (Broken.bad_checksum, Broken.corrupt_member)
EMPTY = hashlib.sha1(b"").hexdigest()
EXAMPLE_PAGE = "0e973b59f476007fd10f87f347c3956065516fc0"

Seen = tuple[str, str | None, str]


def oracle(folder: Path) -> dict[str, list[Seen]]:
    """What warcio 1.8.1 reads in a folder's files: type, URI and payload sha1 of each record."""
    seen: dict[str, list[Seen]] = defaultdict(list)
    with gzip.open(folder / "records.jsonl.gz") as lines:
        for row in map(json.loads, lines):
            if "type" in row:
                seen[row["file"]].append((row["type"], row["uri"], row["payload_sha1"]))
    return seen


def contents(path: Path) -> tuple[list[Seen], list[ArchiveFault], list[ArchiveRecord]]:
    with path.open("rb") as stream:
        found = list(read_records(stream, path.name))
    records = [item for item in found if isinstance(item, ArchiveRecord)]
    faults = [item for item in found if isinstance(item, ArchiveFault)]
    seen: list[Seen] = []
    for record in records:
        payload = payload_of(record, 1 << 30)
        assert payload.fault is None, record
        seen.append((record.type, record.uri, hashlib.sha1(payload.data).hexdigest()))
    return seen, faults, records


@pytest.mark.parametrize("name", WHOLE_IN_WARCIO)
def test_records_of_sound_archives_are_those_of_warcio(shared_data: Path, name: str) -> None:
    seen, faults, records = contents(shared_data / "archives" / name)
    assert seen == oracle(shared_data / "archives")[name]
    assert faults == []
    assert [record.offset for record in records] == sorted({record.offset for record in records})


def test_every_archive_is_tested(shared_data: Path) -> None:
    named = {*WHOLE_IN_WARCIO, "resiliparse-warcfile.warc.lz4", "ccnet-sample.wet.txt"}
    others = ("LICENSE", "ORIGIN", "records.jsonl")
    assert {path.name for path in (shared_data / "archives").iterdir() if not path.name.startswith(others)} == named


def test_lz4_equals_its_gzip_twin(shared_data: Path) -> None:
    seen, faults, records = contents(shared_data / "archives" / "resiliparse-warcfile.warc.lz4")
    assert seen == oracle(shared_data / "archives")["resiliparse-warcfile.warc.gz"]
    assert faults == []
    with (shared_data / "archives" / "resiliparse-warcfile.warc.lz4").open("rb") as stream:
        assert [r.offset for r in records] == [r.stream_pos for r in ArchiveIterator(stream, parse_http=False)]


def test_offsets_and_blocks_are_those_of_fastwarc(shared_data: Path) -> None:
    for name in ("aut-iah2008.warc.gz", "dolma-sample-0000.warc.gz", "blackbook.warc", "whirlwind.warc.wet"):
        path = shared_data / "archives" / name
        _, _, records = contents(path)
        with path.open("rb") as stream:
            theirs = [(r.stream_pos, r.reader.read()) for r in ArchiveIterator(stream, parse_http=False)]
        assert [(record.offset, record.block) for record in records] == theirs


def test_every_page_of_the_crawl_is_read(shared_data: Path) -> None:
    types: dict[str, int] = defaultdict(int)
    for path in sorted((shared_data / "crawl").glob("*.warc.gz")):
        with path.open("rb") as stream:
            for item in read_records(stream, path.name):
                types[item.type if isinstance(item, ArchiveRecord) else item.reason] += 1
    assert types == {"warcinfo": 22, "response": 1808}


def test_wet_sample_without_true_lengths_is_read_as_cc_net_reads_it(shared_data: Path) -> None:
    """Its lengths count characters, and its line ends are bare: warcio stops after the first record."""
    path = shared_data / "archives" / "ccnet-sample.wet.txt"
    _, faults, records = contents(path)
    pieces = path.read_bytes().split(b"WARC/1.0\n")[1:]
    assert [record.block.strip() for record in records] == [piece.partition(b"\n\n")[2].strip() for piece in pieces]
    assert [record.uri for record in records] == [
        None,
        "http://sample_english.com",
        "http://sample_chinese.zh",
        "http://sample_russian.ru",
    ]
    assert [record.offset for record in records] == [0, 617, 1310, 1959]
    assert faults == []


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("warcio-example-digest.warc", 4),
        ("warcio-example-space-in-target-uri.warc.gz", 2),
        ("warcio-example-space-in-url.arc", 2),
        ("warcio-example-wget-bad-target-uri.warc.gz", 6),
    ],
)
def test_odd_archives_that_read_cleanly(shared_data: Path, name: str, count: int) -> None:
    seen, faults, _ = contents(shared_data / "archives-damaged" / name)
    assert seen == oracle(shared_data / "archives-damaged")[name]
    assert len(seen) == count
    assert faults == []


@pytest.mark.parametrize("name", ["warcio-example-bad-non-chunked.warc.gz", "warcio-example-bad.warc.gz.bad"])
def test_many_records_in_one_gzip_member_are_read_through(shared_data: Path, name: str) -> None:
    seen, faults, records = contents(shared_data / "archives-damaged" / name)
    assert seen[:1] == oracle(shared_data / "archives-damaged")[name]
    assert (len(seen), faults) == (6, [])
    plain = gzip.decompress((shared_data / "archives-damaged" / name).read_bytes())
    assert {record.offset for record in records} == {0}
    assert [plain[record.inner :][:7] for record in records] == [b"WARC/1."] * 6
    assert len({record.inner for record in records}) == 6


def test_a_record_cut_over_gzip_members_is_read_through(shared_data: Path) -> None:
    """Its response's header and body lie in two members; the payload digest of the record proves the reading right."""
    _, faults, records = contents(shared_data / "archives-damaged" / "warcio-example-wrong-chunks.warc.gz")
    assert [(record.type, record.offset) for record in records] == [("response", 0), ("request", 1130)]
    digest = hashlib.sha1(payload_of(records[0], 1 << 20).data).digest()
    assert records[0].headers["warc-payload-digest"] == f"sha1:{base64.b32encode(digest).decode()}"
    assert faults == []


def test_a_length_two_bytes_short_is_one_fault(shared_data: Path) -> None:
    seen, faults, _ = contents(shared_data / "archives-damaged" / "warcio-example-trunc.warc")
    assert seen == oracle(shared_data / "archives-damaged")["warcio-example-trunc.warc"]
    raw = (shared_data / "archives-damaged" / "warcio-example-trunc.warc").read_bytes()
    assert [(fault.reason, fault.bytes) for fault in faults] == [(Broken.bad_content_length, 6)]
    assert raw[faults[0].offset :][:14] == b"\0\0\r\n\r\nWARC/1.0"


def test_arc_lengths_that_are_no_numbers_are_faults_of_their_records(shared_data: Path) -> None:
    seen, faults, records = contents(shared_data / "archives-damaged" / "warcio-bad.arc")
    assert seen == [("response", "http://example.com/", EMPTY)]
    assert records[0].offset == 202
    assert [(fault.reason, fault.offset) for fault in faults] == [
        (Broken.bad_header, 0),
        (Broken.bad_header, 134),
        (Broken.bad_header, 262),
    ]
    assert "'abc'" in faults[2].detail


def test_what_is_no_archive_is_one_fault(shared_data: Path) -> None:
    seen, faults, _ = contents(shared_data / "archives-damaged" / "ungoliant-garbage-binary-as-text.txt")
    assert seen == []
    assert [(fault.reason, fault.offset, fault.bytes) for fault in faults] == [(Broken.not_an_archive, 0, 434502)]
    assert "PNG" in faults[0].detail
    for data in (b"", gzip.compress(b""), gzip.compress(b"plain text"), b"WARC/1.0\r\n"):
        records, faults = read(data)
        assert (records, [fault.reason for fault in faults]) == ([], [Broken.not_an_archive])


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "lz4"])
def test_every_compression_of_a_real_archive_gives_the_same_records(shared_data: Path, compression: str) -> None:
    path = shared_data / "archives" / "warcio-example.warc.gz"
    _, _, expected = contents(path)
    data = path.read_bytes()
    members = []
    while data:
        inflater = zlib.decompressobj(wbits=31)
        members.append(inflater.decompress(data))
        data = inflater.unused_data
    data, offsets = stored(members, compression)
    records, faults = read(data)
    assert faults == []
    assert [record.offset for record in records] == offsets
    assert [(r.type, r.uri, r.id, r.block) for r in records] == [(r.type, r.uri, r.id, r.block) for r in expected]


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "lz4"])
def test_cut_anywhere_the_records_before_the_cut_are_read_and_the_cut_is_one_fault(compression: str) -> None:
    data, offsets = stored(RESPONSES, compression)
    whole, _ = read(data)
    starts = [*offsets, len(data)]
    for cut in range(1, len(data), 7 if compression == "none" else 1):
        records, faults = read(data[:cut])
        complete = sum(end <= cut for end in starts[1:])
        assert records[:complete] == whole[:complete], cut
        # Behind the last block only line ends or a trailer may be missing: then one more record is whole.
        assert len(records) in (complete, complete + 1), cut
        assert records == whole[: len(records)], cut
        if cut in offsets or (compression == "none" and len(records) > complete):
            assert faults == [], cut
            continue
        assert len(faults) == 1, (cut, faults)
        if cut - offsets[0] > 40:
            assert faults[0].reason is Broken.truncated, (cut, faults)
            assert faults[0].offset == max(offset for offset in offsets if offset < cut), cut


def test_a_single_gzip_member_cut_in_the_middle_gives_what_came_before() -> None:
    plain = b"".join(RESPONSES)
    whole, _ = read(plain)
    data = gzip.compress(plain, mtime=0)
    for cut in range(60, len(data), 3):
        records, faults = read(data[:cut])
        held = len(zlib.decompressobj(wbits=31).decompress(data[:cut]))
        assert [record.block for record in records] == [r.block for r in whole[: len(records)]]
        assert len(records) >= held // len(RESPONSES[0])
        assert [fault.reason for fault in faults] == [Broken.truncated]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "lz4"])
def test_a_flipped_byte_costs_its_own_record_only(compression: str) -> None:
    records_in = [warc_record(page(hashlib.sha256(bytes([n])).hexdigest() * 20), number=n) for n in range(5)]
    data, offsets = stored(records_in, compression)
    whole, _ = read(data)
    for position in range(offsets[2], offsets[3]):
        damaged = bytearray(data)
        damaged[position] ^= 0x55
        records, faults = read(bytes(damaged))
        assert records[:2] == whole[:2], position
        assert records[-1] == whole[-1], position
        sound = [record for record in records if record.offset != offsets[2]]
        assert all(record in whole for record in sound), position
        if records != whole and compression == "gzip":
            assert faults and faults[0].offset == offsets[2], (position, faults)


def test_a_wrong_checksum_is_a_fault_and_no_record() -> None:
    data, offsets = stored(RESPONSES, "gzip")
    damaged = bytearray(data)
    damaged[offsets[2] - 8] ^= 1
    records, faults = read(bytes(damaged))
    assert [record.offset for record in records] == [offsets[0], *offsets[2:]]
    assert [(fault.reason, fault.offset) for fault in faults] == [(Broken.bad_checksum, offsets[1])]


def responses(count: int, words: int = 400) -> list[bytes]:
    """Records of pages that compress about as text does, no two alike."""
    chance = random.Random(count)
    vocabulary = [hashlib.sha1(bytes([n])).hexdigest()[: 2 + n % 8] for n in range(256)]
    texts = ("<p>" + " ".join(chance.choices(vocabulary, k=words)) + "</p>" for _ in range(count))
    return [warc_record(page(text), number=number) for number, text in enumerate(texts)]


def lz4_frame_with_checksum(data: bytes) -> bytes:
    """LZ4 frame format 1.6: the content checksum flag is bit 2, the header's checksum the second byte of its xxh32."""
    frame = lz4_frame(data)
    descriptor = bytes([frame[4] | 4, frame[5]])
    header_checksum = xxhash.xxh32_intdigest(descriptor) >> 8 & 0xFF
    return frame[:4] + descriptor + bytes([header_checksum]) + frame[7:] + xxhash.xxh32_digest(data)[::-1]


@pytest.mark.parametrize(
    "fill", [b"\xff" * 64, b"\0" * 64, random.Random(5).randbytes(64), b"\xa5"], ids=["ones", "zeros", "noise", "byte"]
)
@pytest.mark.parametrize(
    "frame", [COMPRESSIONS["gzip"], zstd_frame, lz4_frame_with_checksum], ids=["gzip", "zstd", "lz4"]
)
def test_an_overwritten_member_is_one_fault_whatever_it_decompresses_to(
    frame: Callable[[bytes], bytes], fill: bytes
) -> None:
    pieces = [frame(record) for record in responses(3)]
    whole, faults = read(b"".join(pieces))
    assert (len(whole), faults) == (3, [])
    first, second = len(pieces[0]), len(pieces[1])
    for position in range(40, second - len(fill), 17):
        damaged = pieces[1][:position] + fill + pieces[1][position + len(fill) :]
        if damaged == pieces[1]:
            continue
        records, faults = read(pieces[0] + damaged + pieces[2])
        assert [record.id for record in records] == [whole[0].id, whole[2].id], position
        assert [record.block for record in records] == [whole[0].block, whole[2].block], position
        assert [fault.offset for fault in faults] == [first], (position, faults)
        assert faults[0].reason in DAMAGE, (position, faults)
        records, faults = read(damaged)
        # Without a member behind it, a frame whose last block header is lost cannot be told from one that was cut.
        assert (records, len(faults)) == ([], 1) or faults[0].reason is Broken.truncated, position


def test_bytes_behind_the_record_of_a_sound_member_cost_nothing_of_it() -> None:
    record, follower = responses(2)
    data = gzip.compress(record + b"stray", mtime=0)
    records, faults = read(data + gzip.compress(follower, mtime=0))
    assert [found.offset for found in records] == [0, len(data)]
    assert [(fault.reason, fault.offset) for fault in faults] == [(Broken.bad_content_length, 0)]


def test_a_member_of_many_records_gives_those_before_its_damage() -> None:
    """Deflate blocks end behind each record, so that the damage of one cannot be seen before it."""
    plain = responses(6)
    deflater = zlib.compressobj(wbits=31)
    pieces = [deflater.compress(record) + deflater.flush(zlib.Z_FULL_FLUSH) for record in plain]
    pieces.append(deflater.flush())
    whole, faults = read(b"".join(pieces))
    assert (len(whole), faults) == (6, [])
    behind = gzip.compress(warc_record(page(), number=9), mtime=0)
    for position in range(20, len(pieces[3]) - 70, 7):
        damaged = pieces[3][:position] + b"\xff" * 64 + pieces[3][position + 64 :]
        data = b"".join([*pieces[:3], damaged, *pieces[4:]])
        records, faults = read(data + behind)
        assert records[:3] == whole[:3], position
        assert records[-1].offset == len(data), position
        assert {fault.offset for fault in faults} == {0} and faults[-1].reason in DAMAGE, (position, faults)
    for size in range(0, len(plain[3]) - 4, 41):
        deflater = zlib.compressobj(wbits=31)
        head = deflater.compress(b"".join(plain[:3]) + plain[3][:size]) + deflater.flush(zlib.Z_FULL_FLUSH)
        # A deflate block of the reserved type (RFC 1951 section 3.2.3).
        torn = head + b"\x07" * 64
        records, faults = read(torn + behind)
        assert records[:-1] == whole[:3], size
        assert records[-1].offset == len(torn), size
        assert [(fault.reason, fault.offset) for fault in faults] == [(Broken.corrupt_member, 0)], size


def test_garbage_between_the_records_of_a_damaged_member_takes_the_record_before_it_along() -> None:
    """Unless the blank lines at its end show that it is whole."""
    first, second, third, fourth = responses(4)
    garbled = second.removesuffix(b"\r\n\r\n")
    data = gzip.compress(first + garbled + b"garbage\r\n" * 2000 + third + fourth, mtime=0)
    records, faults = read(data)
    assert [record.id for record in records] == [record.id for record in read(first + garbled + third + fourth)[0]]
    assert [fault.reason for fault in faults] == [Broken.bad_content_length]
    broken = data[:-8] + bytes(4) + data[-4:]
    records, faults = read(broken)
    assert [record.block for record in records] == [record.block for record in read(first + third)[0]]
    assert [(fault.reason, fault.inner) for fault in faults] == [
        (Broken.bad_checksum, len(first)),
        (Broken.bad_checksum, len(first + garbled) + 2000 * 9 + len(third)),
    ]
    assert faults[0].bytes == len(garbled) + 2000 * 9
    ended = gzip.compress(first + second + b"garbage\r\n" * 2000 + third + fourth, mtime=0)
    records, faults = read(ended[:-8] + bytes(4) + ended[-4:])
    assert [record.block for record in records] == [record.block for record in read(first + second + third)[0]]
    assert [fault.reason for fault in faults] == [Broken.bad_checksum] * 2


def test_what_follows_a_record_in_a_damaged_member_is_not_held() -> None:
    record, follower = responses(2)
    bomb = gzip.compress(record + b"\1" * (64 << 20), mtime=0)
    damaged = bomb[:-8] + bytes(4) + bomb[-4:]
    tracemalloc.start()
    records, faults = read(damaged + gzip.compress(follower, mtime=0), max_record_bytes=1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [found.offset for found in records] == [len(damaged)]
    assert [(fault.reason, fault.offset) for fault in faults] == [(Broken.bad_checksum, 0)]
    assert faults[0].bytes > 64 << 20
    assert peak < 4 << 20


def test_a_member_without_an_end_before_another_is_corrupt_and_not_truncated() -> None:
    pieces = [lz4_frame(record) for record in responses(3)]
    endless = pieces[1][:-4] + b"\xff\xff\xff\x7f"
    records, faults = read(pieces[0] + endless + pieces[2])
    assert [record.offset for record in records] == [0, len(pieces[0] + endless)]
    assert [(fault.reason, fault.offset) for fault in faults] == [(Broken.corrupt_member, len(pieces[0]))]


def test_a_length_out_of_bounds_in_a_damaged_member_is_one_fault() -> None:
    first, _, third = responses(3)
    member = gzip.compress(warc_record(page(), number=8, Content_Length=str(1 << 40)), mtime=0)
    damaged = member[:-8] + bytes(4) + member[-4:]
    data = gzip.compress(first, mtime=0)
    records, faults = read(data + damaged + gzip.compress(third, mtime=0))
    assert [record.offset for record in records] == [0, len(data + damaged)]
    assert [(fault.reason, fault.offset) for fault in faults] == [(Broken.bad_checksum, len(data))]


def test_texts_with_bare_line_ends_in_a_damaged_member_are_kept_up_to_the_damage() -> None:
    """Their lengths do not hold, so only what follows shows where they end."""
    texts = [
        warc_record(b"The mill.\n" * 50, kind="conversion", number=n, Content_Length="300").replace(b"\r\n", b"\n")
        for n in range(3)
    ]
    data = gzip.compress(b"".join(texts), mtime=0)
    whole, faults = read(data)
    assert (len(whole), faults) == (3, [])
    for damaged, reason in (
        (data[:-8] + bytes(4) + data[-4:], Broken.bad_checksum),
        (data[:-9], Broken.truncated),
    ):
        records, faults = read(damaged)
        assert records == whole[:2]
        assert [(fault.reason, fault.inner) for fault in faults] == [(reason, len(texts[0] + texts[1]))]


def test_frames_behind_damage_are_read_with_the_dictionary_that_begins_the_file() -> None:
    dictionary = b"".join(RESPONSES)[:1500]
    start = b"\x5d\x2a\x4d\x18" + len(dictionary).to_bytes(4, "little") + dictionary
    pieces = [zstd_frame(record, dictionary=dictionary).removeprefix(start) for record in responses(3)]
    assert all(piece.startswith(b"\x28\xb5\x2f\xfd") for piece in pieces)
    whole, faults = read(start + b"".join(pieces))
    assert (len(whole), faults) == (3, [])
    damaged = pieces[1][:-1] + bytes([pieces[1][-1] ^ 1])
    records, faults = read(start + pieces[0] + damaged + pieces[2])
    assert records == [whole[0], whole[2]]
    assert [(fault.reason, fault.offset) for fault in faults] == [(Broken.bad_checksum, len(start + pieces[0]))]


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "lz4"])
def test_garbage_between_records_is_one_fault(compression: str) -> None:
    pieces = [stored([record], compression)[0] for record in RESPONSES]
    garbage = b"neither a record nor a member\n" * 9000
    records, faults = read(pieces[0] + pieces[1] + garbage + pieces[2] + pieces[3])
    first = len(pieces[0] + pieces[1])
    assert [record.offset for record in records][2:] == [first + len(garbage), first + len(garbage) + len(pieces[2])]
    assert [(fault.reason, fault.offset) for fault in faults] == [
        (
            Broken.bad_content_length if compression == "none" else Broken.stray_bytes,
            first - (compression == "none") * 4,
        )
    ]


def test_a_length_that_reaches_into_the_next_record_loses_no_other() -> None:
    long = warc_record(page(), number=9, Content_Length=str(len(page()) + 40))
    endless = warc_record(page(), number=9, Content_Length=str(1 << 50))
    for wrong in (long, endless):
        for compression in ("none", "gzip", "zstd", "lz4"):
            data, offsets = stored([RESPONSES[0], wrong, *RESPONSES[2:]], compression)
            records, faults = read(data)
            assert [record.offset for record in records] == [offsets[0], *offsets[2:]]
            assert [fault.offset for fault in faults] == [offsets[1]]
            assert faults[0].reason in (Broken.bad_content_length, Broken.record_too_large)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (warc_record(b"x", Content_Length="-5"), Broken.bad_header),
        (warc_record(b"x", Content_Length="1_0"), Broken.bad_header),
        (warc_record(b"x", Content_Length="9" * 5000), Broken.bad_header),
        (warc_record(b"x").replace(b"Content-Length: 1\r\n", b""), Broken.bad_header),
        (warc_record(b"x").replace(b"WARC-Type: response\r\n", b""), Broken.bad_header),
        (b"WARC/1.0\r\nX-Filler: " + b"y" * 100_000 + b"\r\n\r\n\r\n", Broken.bad_header),
    ],
)
def test_a_bad_header_is_one_fault(wrong: bytes, reason: Broken) -> None:
    for compression in ("none", "gzip"):
        data, offsets = stored([RESPONSES[0], wrong, RESPONSES[2]], compression)
        records, faults = read(data)
        assert [record.offset for record in records] == [offsets[0], offsets[2]]
        assert [(fault.reason, fault.offset) for fault in faults] == [(reason, offsets[1])]
        assert "made.warc" in faults[0].detail


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "lz4"])
def test_a_bomb_is_passed_over_without_being_held(compression: str) -> None:
    bomb = warc_record(b"\0" * (64 << 20), number=1)
    data, offsets = stored([RESPONSES[0], bomb, RESPONSES[2]], compression)
    records, faults = read(data, max_record_bytes=1 << 20)
    assert [record.offset for record in records] == [offsets[0], offsets[2]]
    assert [(fault.reason, fault.offset) for fault in faults] == [(Broken.record_too_large, offsets[1])]
    assert faults[0].bytes > 64 << 20


@pytest.mark.parametrize("compression", ["gzip", "zstd", "lz4"])
def test_a_record_cut_short_inside_its_own_member_loses_no_other(compression: str) -> None:
    """The crawler stopped in the middle of a record and went on with the next: sizes that end just past its start."""
    block = page()
    for missing in (*range(1, 60), len(RESPONSES[2]) + 3):
        short = warc_record(block, number=9, Content_Length=str(len(block) + missing)).removesuffix(b"\r\n\r\n")
        data, offsets = stored([RESPONSES[0], short, *RESPONSES[2:]], compression)
        records, faults = read(data)
        assert [record.offset for record in records] == [offsets[0], *offsets[2:]], missing
        assert [(fault.reason, fault.offset) for fault in faults] == [(Broken.bad_content_length, offsets[1])]


def test_an_archive_inside_an_archive_stays_inside() -> None:
    """A payload may hold what looks like records; true lengths keep it whole."""
    inner = warc_record(b"".join(RESPONSES), kind="resource", number=7)
    for compression in ("none", "gzip"):
        records, faults = read(stored([RESPONSES[0], inner, RESPONSES[1]], compression)[0])
        assert [record.type for record in records] == ["response", "resource", "response"]
        assert records[1].block == b"".join(RESPONSES)
        assert faults == []


def test_zero_padding_behind_the_last_member_is_no_damage() -> None:
    data, _ = stored(RESPONSES, "gzip")
    records, faults = read(data + bytes(10_000))
    assert (len(records), faults) == (4, [])


def test_headers_fold_and_are_latin_1_where_they_are_not_utf_8() -> None:
    record = warc_record(b"x", uri="http://mill.example/caf\u00e9").replace("\u00e9".encode(), b"\xe9")
    folded = record.replace(b"WARC-Date: 2024", b"Nonsense without a colon\r\nX-Long: one\r\n  two\r\nWARC-Date: 2024")
    records, faults = read(folded)
    assert faults == []
    assert records[0].uri == "http://mill.example/caf\u00e9"
    assert records[0].headers["x-long"] == "one two"
    assert records[0].date == "2024-02-03T04:05:06Z"


def test_a_stream_that_cannot_seek_is_refused_with_a_cure() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with pytest.raises(ValueError, match="spool it first"):
        next(iter(read_records(Pipe(RESPONSES[0]), "pipe")))


def test_mutilated_archives_end_in_records_and_faults() -> None:
    """Bytes changed, cut out, doubled and put in: nothing raises, and nothing is read twice or out of order."""
    chance = random.Random(20)
    variants = [stored(RESPONSES, compression)[0] for compression in COMPRESSIONS]
    variants += [gzip.compress(b"".join(RESPONSES), mtime=0), b"".join(RESPONSES).replace(b"\r\n", b"\n")]
    for _ in range(3000):
        data = bytearray(chance.choice(variants))
        for _ in range(chance.randint(1, 4)):
            start = chance.randrange(len(data))
            end = start + chance.choice([1, 2, 5, 50, 500])
            put = chance.choice([b"", data[start:end] * 2, chance.randbytes(end - start), b"\n", b"WARC/1.0\r\n"])
            data[start:end] = put
        records, faults = read(bytes(data))
        places = [(record.offset, record.inner) for record in records]
        assert places == sorted(set(places))
        assert len(records) + len(faults) < 30
