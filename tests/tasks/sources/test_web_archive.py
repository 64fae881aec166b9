from __future__ import annotations

import collections
import gzip
import io
import json
import zlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from infra.documents import documents_table
from infra.outcomes import Document, Dropped, Failed, Kept, Outcome, read_all
from tasks.sources.extraction import Extractor
from tasks.sources.reasons import Broken, Unwanted
from tasks.sources.web_archive import WebArchiveConfig, iso_date, read_web_archive
from tests.tasks.sources.samples import HTML, PARAGRAPH, http_response, page, stored, warc_record

CONFIG = WebArchiveConfig(source="mill", extractor=Extractor.resiliparse)
RUSSIAN = "<p>" + "Все люди рождаются свободными и равными в своем достоинстве и правах. " * 10 + "</p>"
DEFLATER = zlib.compressobj(wbits=31)
# Behind half of the page stands a deflate block of the reserved type (RFC 1951 section 3.2.3).
TORN = DEFLATER.compress(page()[:300]) + DEFLATER.flush(zlib.Z_FULL_FLUSH) + b"\x07" * 64


def outcomes(data: bytes, config: WebArchiveConfig = CONFIG) -> list[Outcome]:
    return list(read_all(read_web_archive(io.BytesIO(data), "made.warc", config)))


def outcome(record: bytes, config: WebArchiveConfig = CONFIG) -> Outcome:
    (only,) = outcomes(record, config)
    return only


def documents(found: list[Outcome]) -> list[Document]:
    return [item.document for item in found if isinstance(item, Kept)]


def books(found: list[Outcome]) -> collections.Counter[str]:
    return collections.Counter("kept" if isinstance(item, Kept) else str(item.reason) for item in found)


def test_a_page_becomes_a_document() -> None:
    data, offsets = stored([warc_record(b"software: mill", kind="warcinfo"), warc_record(page(), number=7)], "gzip")
    info, kept = outcomes(data)
    assert info == Dropped("warcinfo", 14, "made.warc, byte 0: http://mill.example/")
    assert isinstance(kept, Kept)
    assert kept.bytes == len(page())
    document = kept.document
    assert document.id == "mill/00000000-0000-4000-8000-000000000007"
    assert document.text.startswith("The mill stands by the river")
    assert (document.url, document.date) == ("http://mill.example/", "2024-02-03T04:05:06Z")
    assert (document.source, document.licence) == ("mill", None)
    assert document.metadata["offset"] == offsets[1]
    assert document.metadata["title"] == "A page"
    assert document.metadata["charset"] == "utf-8"


def test_documents_do_not_depend_on_where_the_file_lies() -> None:
    first = list(read_all(read_web_archive(io.BytesIO(warc_record(page())), "one/a.warc", CONFIG)))
    second = list(read_all(read_web_archive(io.BytesIO(warc_record(page())), "s3://two/b.warc", CONFIG)))
    assert documents(first) == documents(second) != []


@pytest.mark.parametrize(
    "before",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" * 2,
        b"HTTP/1.1 200 Connection established\r\nProxy-Agent: p\r\n\r\n",
    ],
)
def test_the_final_response_counts(before: bytes) -> None:
    assert outcome(warc_record(before + page())) == replace(
        outcome(warc_record(page())), bytes=len(before) + len(page())
    )
    # With nothing behind it, an interim response is what there is.
    assert outcome(warc_record(b"HTTP/1.1 100 Continue\r\n\r\n")).reason == "http_status"  # type: ignore[union-attr]


def test_a_header_without_an_end_is_told() -> None:
    found = outcome(warc_record(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n<html><p>The mill turns.</p>"))
    assert isinstance(found, Failed) and found.reason == "bad_http_header" and "has no end" in found.example
    assert outcome(warc_record(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html")).reason == "http_status"  # type: ignore[union-attr]


def test_a_segmented_record_is_marked_as_cut() -> None:
    [document] = documents([outcome(warc_record(page(), WARC_Segment_Number="1"))])
    assert document.metadata["truncated"] == "segmented"


@pytest.mark.parametrize("extractor", list(Extractor))
def test_empty_elements_of_xhtml_end_where_they_stand(extractor: Extractor) -> None:
    text = PARAGRAPH.replace("a rest", "<![CDATA[a rest & <rust>]]>")
    markup = (
        f'<html><head><title/><script src="a>b.js"/><meta name="x"/></head><body><textarea/>{text}<br/></body></html>'
    )
    config = WebArchiveConfig(source="mill", extractor=extractor)
    [document] = documents(
        [outcome(warc_record(http_response(markup.encode(), Content_Type="application/xhtml+xml")), config)]
    )
    assert "without a rest & <rust>." in document.text
    # As HTML, a browser shows nothing of it.
    assert outcome(warc_record(http_response(markup.encode())), config).reason == "empty_text"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (warc_record(b"x", kind="request"), Unwanted.request),
        (warc_record(b"x", kind="metadata"), Unwanted.metadata),
        (warc_record(page(), kind="revisit"), Unwanted.revisit),
        (warc_record(b"x", kind="resource"), Unwanted.resource),
        (warc_record(b"x", kind="conversion"), Unwanted.conversion),
        (warc_record(b"x", kind="continuation"), Unwanted.continuation),
        (warc_record(b"x", kind="something"), Unwanted.unknown_type),
        (warc_record(b"1.2.3.4", uri="dns:mill.example", Content_Type="text/dns"), Unwanted.not_http),
        (warc_record(page(status=404)), Unwanted.http_status),
        (warc_record(http_response(b"", status=301)), Unwanted.http_status),
        (warc_record(page(Content_Type="text/plain")), Unwanted.not_html),
        (warc_record(page(Content_Type="image/png")), Unwanted.not_html),
        (warc_record(http_response(b"\x89PNG\r\n\x1a\n" + bytes(500))), Unwanted.not_html),
        (warc_record(http_response(b"%PDF-1.7 and so on")), Unwanted.not_html),
        (warc_record(http_response(b"key = value", Content_Type="")), Unwanted.not_html),
        (warc_record(http_response(b"")), Unwanted.empty_text),
        (warc_record(page("")), Unwanted.empty_text),
    ],
)
def test_what_is_not_wanted_is_dropped_with_its_reason(record: bytes, reason: Unwanted) -> None:
    found = outcome(record)
    assert isinstance(found, Dropped)
    assert found.reason == reason


def test_short_text_is_told_from_empty_text() -> None:
    config = WebArchiveConfig(source="mill", extractor=Extractor.resiliparse, min_characters=100_000)
    found = outcome(warc_record(page()), config)
    assert isinstance(found, Dropped) and found.reason == Unwanted.short_text


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (warc_record(b"\x16\x03\x01 not http\r\n\r\n"), Broken.bad_http_header),
        (warc_record(http_response(gzip.compress(page())[:-60], Content_Encoding="gzip")), Broken.truncated_body),
        (warc_record(http_response(TORN, Content_Encoding="gzip")), Broken.bad_content_encoding),
        (warc_record(http_response(b"5\r\nHelloXX5\r\n", Transfer_Encoding="chunked")), Broken.bad_chunking),
        (warc_record(http_response(b"(\xb5/\xfd zstd", Content_Encoding="zstd")), Broken.unsupported_content_encoding),
        (warc_record(http_response(gzip.compress(bytes(1 << 20)), Content_Encoding="gzip")), Broken.body_too_large),
        (warc_record(http_response(b"<html>" + bytes(range(128, 160)) * 90)), Broken.undecodable),
        (warc_record(page("<div>" * 100_000)), Broken.extractor_error),
    ],
)
def test_what_is_broken_fails_with_its_reason_and_place(record: bytes, reason: Broken) -> None:
    config = WebArchiveConfig(source="mill", extractor=Extractor.resiliparse, max_body_bytes=800_000)
    data, offsets = stored([warc_record(page()), record, warc_record(page())], "gzip")
    before, found, after = outcomes(data, config)
    assert isinstance(before, Kept) and isinstance(after, Kept)
    assert isinstance(found, Failed)
    assert (found.reason, found.offset) == (reason, offsets[1])
    assert found.example.startswith(f"made.warc, byte {offsets[1]}: http://mill.example/")


def test_a_body_that_the_crawler_declares_as_cut_is_kept() -> None:
    body = gzip.compress(HTML.replace(b"%s", PARAGRAPH.encode() * 400) * 4, mtime=0)[:-100]
    found = outcome(warc_record(http_response(body, Content_Encoding="gzip"), WARC_Truncated="length"))
    assert isinstance(found, Kept)
    assert found.document.metadata["truncated"] == "length"


def test_html_without_a_content_type_is_found_by_its_start() -> None:
    assert isinstance(outcome(warc_record(page(Content_Type=""))), Kept)
    assert isinstance(outcome(warc_record(page(Content_Type="application/octet-stream"))), Kept)


COMMENTS = b"<!-- a comment -->" * 50


@pytest.mark.parametrize(
    ("start", "is_html"),
    [
        (b"<p>", True),
        (b"<br/>", True),
        (b"<!-- a --> \xef\xbb\xbf<?xml version='1.0'?>\n<!doctype  html>", True),
        (COMMENTS[:900] + b"<p>", True),
        (COMMENTS[:900] + b"<x-y>", False),
        (b"<!---->" * 130 + b"<x-y>", False),
        (b"<!--" + b" licence" * 500 + b"--><p>", True),
        (b"\n" * 900 + b"<x-y>", False),
        (b"<?xml ?>" * 100 + b"<svg>", False),
        (b"plain", False),
        (b"<abc>", False),
    ],
)
def test_the_start_is_looked_at_in_linear_time(start: bytes, is_html: bool) -> None:
    """Of 120 comments before an unknown tag, the former pattern tried every way to divide them."""
    body = start + HTML.replace(b"%s", PARAGRAPH.encode()).replace(b"<!doctype html>", b"")
    found = outcome(warc_record(http_response(body, Content_Type="")))
    assert isinstance(found, Kept) is is_html
    assert is_html or (isinstance(found, Dropped) and found.reason == Unwanted.not_html)


@pytest.mark.parametrize("kind", ["TEXT/HTML", "text/html charset=utf-8", "text/plain, text/html", "text / html;", "x"])
def test_content_types_as_servers_send_them(kind: str) -> None:
    assert isinstance(outcome(warc_record(page(Content_Type=kind))), Kept)


def test_a_body_shorter_than_announced_is_marked_as_cut() -> None:
    found = outcome(warc_record(page(Content_Length="100000")))
    assert isinstance(found, Kept) and found.document.metadata["truncated"] == "content-length"
    found = outcome(warc_record(page(Content_Length="10")))
    assert isinstance(found, Kept) and found.document.metadata["truncated"] is None


@pytest.mark.parametrize("extractor", Extractor)
def test_what_costs_too_much_is_no_empty_text(extractor: Extractor) -> None:
    config = WebArchiveConfig(source="mill", extractor=extractor, max_elements=100)
    found = outcome(warc_record(page("<p>a" * 200)), config)
    assert isinstance(found, Failed) and found.reason == Broken.extractor_error
    assert "the page has more than 100 elements" in found.example
    header = b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 60_000 + b"\r\n<p>text"
    found = outcome(warc_record(header), config)
    assert isinstance(found, Failed) and found.reason == Broken.http_header_too_large


def test_large_scripts_are_within_the_limits_and_bombs_are_not() -> None:
    script = "<script>" + "a" * (11 << 20) + "</script>"
    assert isinstance(outcome(warc_record(page(script + PARAGRAPH)), WebArchiveConfig(source="mill")), Kept)
    bomb = warc_record(http_response(gzip.compress(b"<p>a" * (5 << 20)), Content_Encoding="gzip"))
    found = outcome(bomb, WebArchiveConfig(source="mill"))
    assert isinstance(found, Failed) and found.reason == Broken.body_too_large


@pytest.mark.parametrize("lie", ["utf-8", "iso-8859-1"])
def test_a_lie_about_the_charset_does_not_reach_the_text(lie: str) -> None:
    body = HTML.replace(b"%s", RUSSIAN.encode("cp1251"))
    found = outcome(warc_record(http_response(body, Content_Type=f"text/html; charset={lie}")))
    assert isinstance(found, Kept)
    assert "свободными и равными" in found.document.text
    assert found.document.metadata["charset"] == "cp1251"


def test_a_wrong_content_encoding_does_not_cost_the_page() -> None:
    assert isinstance(outcome(warc_record(page(Content_Encoding="gzip", Transfer_Encoding="chunked"))), Kept)


def test_characters_that_cannot_be_stored_do_not_break_the_lake() -> None:
    text = "<p>" + "One\0two\x07three &#xD800; four&#0;five &#x1F600; and the mill turns on and on.</p>" * 8
    found = outcome(warc_record(page(text)))
    assert isinstance(found, Kept)
    table = documents_table([found.document])
    assert table["text"][0].as_py().encode()
    assert not set(found.document.text) & {"\0", "\x07", "\ud800"}
    assert isinstance(table, pa.Table)


def test_damage_of_the_archive_is_in_the_books() -> None:
    data, offsets = stored([warc_record(page(), number=number) for number in range(5)], "gzip")
    found = outcomes(data[: offsets[3] + 60])
    assert books(found) == {"kept": 3, "truncated": 1}
    assert isinstance(found[-1], Failed) and found[-1].offset == offsets[3]
    assert outcomes(b"\x89PNG")[0] == Failed(
        "not_an_archive", 4, "made.warc is neither WARC nor ARC: it begins with b'\\x89PNG'", 0
    )


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "lz4"])
def test_compression_changes_nothing_but_offsets(compression: str) -> None:
    records = [warc_record(page(), number=number) for number in range(3)]
    found = documents(outcomes(stored(records, compression)[0]))
    assert [(document.id, document.text) for document in found] == [
        (document.id, document.text) for document in documents(outcomes(b"".join(records)))
    ]


def test_the_same_captures_as_arc_and_as_warc(shared_data: Path) -> None:
    pages = {}
    for name in ("aut-iah2008.arc.gz", "aut-iah2008.warc.gz"):
        with (shared_data / "archives" / name).open("rb") as stream:
            found = list(read_all(read_web_archive(stream, name, CONFIG)))
        assert not any(isinstance(item, Failed) for item in found)
        pages[name] = documents(found)
        ids = [document.id for document in pages[name]]
        assert len(ids) == len(set(ids))
    arc, warc = pages.values()
    assert len(arc) == 93
    assert [(d.text, d.url, d.metadata["payload_sha1"]) for d in arc] == [
        (d.text, d.url, d.metadata["payload_sha1"]) for d in warc
    ]
    assert all(document.date and document.date.startswith("2008-04-30T20:48") for document in arc[:5])


def test_books_of_every_damaged_file(shared_data: Path) -> None:
    expected = {
        "ungoliant-garbage-binary-as-text.txt": {"not_an_archive": 1},
        "warcio-bad.arc": {"bad_header": 3, "bad_http_header": 1},
        "warcio-example-bad-non-chunked.warc.gz": {"warcinfo": 2, "kept": 1, "request": 2, "revisit": 1},
        "warcio-example-bad.warc.gz.bad": {"warcinfo": 1, "kept": 1, "request": 2, "revisit": 1, "http_status": 1},
        "warcio-example-digest.warc": {"request": 4},
        "warcio-example-space-in-target-uri.warc.gz": {"warcinfo": 1, "resource": 1},
        "warcio-example-space-in-url.arc": {"arc_header": 1, "kept": 1},
        "warcio-example-trunc.warc": {"warcinfo": 2, "kept": 1, "bad_content_length": 1, "request": 1},
        "warcio-example-wget-bad-target-uri.warc.gz": {
            "warcinfo": 1,
            "request": 1,
            "kept": 1,
            "metadata": 1,
            "resource": 2,
        },
        "warcio-example-wrong-chunks.warc.gz": {"kept": 1, "request": 1},
    }
    found = {}
    for path in (shared_data / "archives-damaged").iterdir():
        if not path.name.startswith(("LICENSE", "ORIGIN", "records.jsonl")):
            with path.open("rb") as stream:
                found[path.name] = dict(books(list(read_all(read_web_archive(stream, path.name, CONFIG)))))
    assert found == expected


def test_a_crawl_is_read_whole_and_twice_alike(shared_data: Path) -> None:
    name = "html-article-gold-04.warc.gz"
    runs = []
    for extractor in Extractor:
        config = WebArchiveConfig(source="gold", extractor=extractor)
        with (shared_data / "crawl" / name).open("rb") as stream:
            found = list(read_all(read_web_archive(stream, name, config)))
        with (shared_data / "crawl" / name).open("rb") as stream:
            assert list(read_all(read_web_archive(stream, name, config))) == found
        assert books(found) == {"kept": 32, "warcinfo": 1}
        runs.append(found)
    assert [item.bytes for item in runs[0]] == [item.bytes for item in runs[1]]
    metadata = documents(runs[0])[0].metadata
    assert json.loads(json.dumps(metadata)) == metadata


def test_dates() -> None:
    assert iso_date("20080430204825") == "2008-04-30T20:48:25Z"
    assert iso_date("200804302048") == "2008-04-30T20:48:00Z"
    assert iso_date("2017-03-06T04:03:53Z") == "2017-03-06T04:03:53Z"
    assert [iso_date(date) for date in (None, "", "201404010000000000", "yesterday")] == [None] * 4


def test_reasons_are_two_closed_lists() -> None:
    assert not {*Broken} & {*Unwanted}
