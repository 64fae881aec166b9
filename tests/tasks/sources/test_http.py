from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator

import brotli
import hypothesis
import pytest
from hypothesis import strategies
from warcio.bufferedreaders import ChunkedDataReader

from tasks.sources import codings, http
from tasks.sources.http import Body, Message, decode_body, message_of
from tasks.sources.reasons import Broken
from tests.tasks.sources.samples import http_response, read, warc_record

BROKEN = (Broken.bad_content_encoding, Broken.truncated_body)
TEXT = b"".join(b"line %d of the page\n" % number for number in range(2000))


def chunked(data: bytes, size: int = 1000) -> bytes:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x;name=value\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


ENCODINGS = {
    "gzip": gzip.compress(TEXT, mtime=0),
    "x-gzip": gzip.compress(TEXT, mtime=0),
    "deflate": zlib.compress(TEXT),
    "Deflate": raw_deflate(TEXT),
    "BR": brotli.compress(TEXT),
    "deflate, gzip": gzip.compress(zlib.compress(TEXT), mtime=0),
    "identity": TEXT,
    "none": TEXT,
}


def decoded(body: bytes, limit: int = 1 << 24, **headers: str) -> Body:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return decode_body(Message(200, named, body), limit)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_content_encodings_alone_and_chunked(encoding: str) -> None:
    body = ENCODINGS[encoding]
    assert decoded(body, content_encoding=encoding) == Body(TEXT)
    assert decoded(chunked(body), content_encoding=encoding, transfer_encoding="Chunked") == Body(TEXT)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, br", "utf-8"])
def test_a_body_that_is_not_encoded_as_declared_is_taken_as_it_is(encoding: str) -> None:
    for body in (TEXT, b"<html>", b"\x89PNG\r\n"):
        assert decoded(body, content_encoding=encoding) == Body(body)
    assert decoded(TEXT, content_encoding=encoding, transfer_encoding="chunked") == Body(TEXT)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "BR"])
def test_a_cut_body_gives_what_was_there_and_a_fault(encoding: str) -> None:
    body = ENCODINGS[encoding]
    cut = decoded(body[: len(body) // 2], content_encoding=encoding)
    assert cut.fault is Broken.truncated_body
    assert TEXT.startswith(cut.data)
    whole = chunked(TEXT)
    for end in (40, len(whole) // 2, len(whole) - 6, len(whole) - 5):
        cut = decoded(whole[:end], transfer_encoding="chunked")
        assert cut.fault is Broken.truncated_body
        assert TEXT.startswith(cut.data)


def test_a_brotli_body_ends_where_its_stream_does() -> None:
    whole = brotli.compress(TEXT)
    for behind in (b"\0", b"<!-- cached -->\n", whole):
        assert decoded(whole + behind, content_encoding="br") == Body(TEXT)
    assert decoded(whole[:12], content_encoding="br").fault is Broken.truncated_body
    large = brotli.compress(os.urandom(3000) + TEXT * 50)
    torn = decoded(large[:2500] + b"\xff" * 600, content_encoding="br")
    assert torn.fault in (Broken.bad_content_encoding, Broken.truncated_body) and len(torn.data) > 2000


def test_a_gzip_body_that_lacks_its_trailer_only_is_whole() -> None:
    body = ENCODINGS["gzip"]
    assert all(decoded(body[:-missing], content_encoding="gzip") == Body(TEXT) for missing in range(1, 9))
    assert decoded(body[:-9], content_encoding="gzip").fault is Broken.truncated_body


def test_damage_inside_a_body_is_a_fault() -> None:
    damaged = bytearray(gzip.compress(bytes(range(256)) * 40_000, compresslevel=0, mtime=0))
    damaged[2_000_000] ^= 1
    assert decoded(bytes(damaged), content_encoding="gzip").fault is Broken.bad_content_encoding
    lost = chunked(TEXT).replace(b"\r\n3e8;", b"XX3e8;", 3)
    assert decoded(lost, transfer_encoding="chunked") == Body(TEXT[:1000], Broken.bad_chunking)
    assert decoded(TEXT, content_encoding="zstd").fault is Broken.unsupported_content_encoding


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "Deflate", "BR"])
def test_damage_in_a_small_body_is_a_fault_too(encoding: str) -> None:
    """It breaks within what is decompressed at once."""
    body = ENCODINGS[encoding]
    for position in range(len(body) // 8, len(body) - 80, 29):
        damaged = body[:position] + b"\xff" * 64 + body[position + 64 :]
        found = decoded(damaged, content_encoding=encoding)
        assert found.data != damaged, position
        if encoding in ("gzip", "deflate"):
            assert found.fault in BROKEN, position
    torn = decoded(body[: len(body) // 2] + b"\xff" * 64, content_encoding=encoding)
    assert torn.fault in BROKEN


def test_whatever_begins_as_gzip_or_zlib_and_breaks_is_a_fault() -> None:
    for encoding in ("gzip", "deflate"):
        body = ENCODINGS[encoding]
        for kept in (2, 3, 12, 40, len(body) - 4):
            damaged = body[:kept] + b"\xff" * 64
            assert decoded(damaged, content_encoding=encoding).fault in BROKEN, (encoding, kept)
    wrong_checksum = ENCODINGS["gzip"][:-8] + bytes(4) + ENCODINGS["gzip"][-4:]
    assert decoded(wrong_checksum, content_encoding="gzip") == Body(TEXT, Broken.bad_content_encoding)
    assert decoded(ENCODINGS["deflate"][:2], content_encoding="deflate") == Body(b"", Broken.truncated_body)


def test_a_bare_deflate_stream_may_begin_as_a_zlib_one() -> None:
    """A stored block of one byte, whose unused bits make it begin as zlib streams do."""
    bare = b"\x78\x01\x00\xfe\xffA"
    assert zlib.decompress(bare + b"\x03\0", wbits=-15) == b"A"
    assert decoded(bare + b"\x03\0", content_encoding="deflate") == Body(b"A")


@pytest.mark.parametrize("start", [b"\n\n\n\t\t\n", b"\r\n", b" ", b"\xef\xbb\xbf", b"////////", b"{", b"sock"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_text_that_was_never_compressed_is_taken_as_it_is_however_it_begins(encoding: str, start: bytes) -> None:
    for text in (TEXT, b"\t\t\n" * 100 + b"<html>" + TEXT, b"<!doctype html>" + TEXT):
        assert decoded(start + text, content_encoding=encoding) == Body(start + text)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_bomb_is_cut_at_the_limit(encoding: str) -> None:
    zeros = bytes(50 << 20)
    body = {"gzip": gzip.compress, "deflate": zlib.compress, "br": lambda data: brotli.compress(data, quality=1)}
    bomb = body[encoding](zeros)
    assert decoded(bomb, limit=1 << 20, content_encoding=encoding) == Body(zeros[: 1 << 20], Broken.body_too_large)
    assert decoded(TEXT, limit=100) == Body(TEXT[:100], Broken.body_too_large)
    assert decoded(TEXT, limit=len(TEXT)) == Body(TEXT)


@hypothesis.given(strategies.lists(strategies.binary(min_size=1, max_size=40), max_size=8), strategies.integers(0, 60))
def test_chunks_are_joined_as_warcio_joins_them(pieces: list[bytes], cut: int) -> None:
    whole = b"".join(b"%X\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    assert decoded(whole, transfer_encoding="chunked") == Body(b"".join(pieces))
    assert ChunkedDataReader(io.BytesIO(whole)).read() == b"".join(pieces)
    part = decoded(whole[:cut], transfer_encoding="chunked").data
    assert b"".join(pieces).startswith(part) or part == whole[:cut]


@pytest.mark.parametrize("size", [b"%x  ", b"  %x", b"%x\t;a=b", b"000000000000000000%x", b"%x ; a"])
@pytest.mark.parametrize("ends", [b"\r\n", b"\n"])
@pytest.mark.parametrize("coding", ["chunked", "identity, chunked", "Chunked", " , chunked ,"])
def test_chunk_sizes_as_robust_readers_take_them(size: bytes, ends: bytes, coding: str) -> None:
    pieces = [TEXT[:1000], TEXT[1000:1001], TEXT[1001:]]
    body = b"".join(size % len(piece) + ends + piece + ends for piece in pieces) + size % 0 + ends + ends
    assert decoded(body, transfer_encoding=coding) == Body(TEXT)


def test_transfer_codings_are_removed_in_their_order() -> None:
    assert decoded(chunked(ENCODINGS["gzip"]), transfer_encoding="gzip, chunked") == Body(TEXT)
    twice = chunked(gzip.compress(ENCODINGS["deflate"]))
    assert decoded(twice, transfer_encoding="chunked", content_encoding="deflate, gzip") == Body(TEXT)


def test_all_members_of_a_gzip_body_are_read() -> None:
    parts = [TEXT[:700], b"", TEXT[700:]]
    members = b"".join(gzip.compress(part) for part in parts)
    assert decoded(members, content_encoding="gzip") == Body(TEXT)
    assert decoded(members + b"\0\0garbage", content_encoding="gzip") == Body(TEXT)
    assert decoded(members[:-30], content_encoding="gzip").fault is Broken.truncated_body
    assert decoded(members, limit=900, content_encoding="gzip") == Body(TEXT[:900], Broken.body_too_large)
    broken = gzip.compress(TEXT) + gzip.compress(TEXT)[:12] + b"\xff" * 64
    found = decoded(broken, content_encoding="gzip")
    assert found.fault in BROKEN and found.data.startswith(TEXT)


def test_the_work_on_small_members_grows_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each member is given a window of its own size, not all that follows it."""
    given = []
    windows = codings._windows

    def counted(data: bytes, start: int) -> Iterator[tuple[bytes, int]]:
        for window, end in windows(data, start):
            given.append(len(window))
            yield window, end

    monkeypatch.setattr(codings, "_windows", counted)
    member = gzip.compress(b"a")
    for count in (500, 5_000):
        given.clear()
        assert decoded(member * count, content_encoding="gzip") == Body(b"a" * count)
        assert sum(given) <= 512 * count
    assert decoded(member * 10_001, content_encoding="gzip").fault is Broken.bad_content_encoding


def test_many_codings_are_a_fault_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "remove_coding", None)
    assert decoded(ENCODINGS["gzip"], content_encoding="gzip," * 9) == Body(b"", Broken.bad_content_encoding)


@pytest.mark.parametrize(
    ("length", "missing"),
    [
        ("100", 60),
        ("40", 0),
        ("39", 0),
        ("100, 100", 60),
        ("100, 90", 0),
        ("", 0),
        ("-5", 0),
        ("1e3", 0),
        ("9" * 40, 0),
    ],
)
def test_a_body_that_is_shorter_than_announced(length: str, missing: int) -> None:
    assert decoded(b"a" * 40, content_length=length) == Body(b"a" * 40, None, missing)


def test_the_length_of_an_encoded_body_says_nothing_of_a_decoded_one() -> None:
    for fields in ({"content_encoding": "gzip"}, {"transfer_encoding": "chunked"}):
        assert decoded(TEXT, content_length=str(2 * len(TEXT)), **fields) == Body(TEXT)


def test_large_headers_are_a_fault_before_they_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "http_fields", None)
    for line in (b"a: b\r\n", b"a:\n", b" folded\r\n", b"Content-Encoding: " + b"gzip," * 100_000 + b"\r\n"):
        head = b"HTTP/1.1 200 OK\r\na: b\r\n" + line * (300_000 // len(line) + 1)
        (record,), _ = read(warc_record(head + b"\r\nbody"))
        message = message_of(record)
        assert message is not None and message.fault is Broken.http_header_too_large


def test_messages_are_found_by_uri_or_content_type() -> None:
    block = http_response(b"body", status=404)
    records, _ = read(
        warc_record(block)
        + warc_record(block, uri="mill:one")
        + warc_record(block, uri="mill:two", Content_Type="text/dns")
        + warc_record(block, kind="resource")
        + warc_record(b"")
        + warc_record(b"no status\r\n\r\nbody")
    )
    messages = [message_of(record) for record in records]
    assert [message and (message.status, message.body) for message in messages] == [
        (404, b"body"),
        (404, b"body"),
        None,
        None,
        None,
        (None, b"body"),
    ]
