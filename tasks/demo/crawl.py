"""The demo's crawl: six archives in the form that a crawler produces, made from the standard library's documentation.

The same release of Python produces the same bytes, whatever packages are installed: dates are fixed, ids derive from
URLs, and nothing reads the clock.
"""

from __future__ import annotations

import datetime
import gzip
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from tasks.demo.archives import (
    ContentEncoding,
    arc_header,
    arc_record,
    http_response,
    request_record,
    response_record,
    stored_member,
    torn_gzip,
    warc_record,
    warcinfo_record,
)
from tasks.demo.planted import ARC_FILE, DAMAGED_FILE, MIRROR_FILE, PAGES_FILE, Planted, planted_records
from tasks.demo.rendering import Page, render
from tasks.demo.texts import module_pages, package_pages, topic_pages

LIBRARY_FILE = "00-library.warc.gz"
PACKAGES_FILE = "01-packages.warc.zst"
_FIRST_DATE = datetime.datetime(2024, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
# Servers encode responses in different ways; the pages of a site cycle through them.
_ENCODINGS: tuple[tuple[ContentEncoding, bool], ...] = (("", False), ("gzip", True), ("br", False), ("deflate", False))


def make_crawl(folder: Path) -> list[Path]:
    """Write the archives to `folder`, replacing those of an earlier call. Return their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    members = {
        LIBRARY_FILE: _warc(LIBRARY_FILE, _site("library", module_pages())),
        PACKAGES_FILE: _warc(PACKAGES_FILE, _site("packages", package_pages())),
        ARC_FILE: _arc(ARC_FILE, _site("topics", topic_pages())),
        PAGES_FILE: _warc(PAGES_FILE, []),
        MIRROR_FILE: _warc(MIRROR_FILE, []),
        DAMAGED_FILE: _warc(DAMAGED_FILE, []),
    }
    paths = []
    for name, stored in members.items():
        path = folder / name
        with path.open("wb") as file:
            file.writelines(stored)
        paths.append(path)
    return paths


def _site(name: str, pages: Iterable[Page]) -> Iterator[tuple[str, bytes]]:
    """URL and HTTP response of every page of a site."""
    for number, (page, (encoding, chunked)) in enumerate(zip(pages, itertools.cycle(_ENCODINGS), strict=False)):
        label = page.title.partition(":")[0].strip().replace(" ", "-")
        response = http_response(render(page), encoding=encoding, chunked=chunked)
        yield f"https://{name}.demo.example/{number:04d}/{label}.html", response


def _warc(file: str, site: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    dates = _dates(file)
    yield stored_member(warcinfo_record(file, next(dates)), file)
    for url, response in site:
        date = next(dates)
        yield stored_member(request_record(url, date), file)
        yield stored_member(response_record(url, date, response), file)
    for planted in planted_records():
        if planted.file == file:
            yield _planted_member(planted, next(dates), file)


def _arc(file: str, site: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    dates = _dates(file)
    yield stored_member(arc_header(file, next(dates)), file)
    planted = ((record.url, record.block) for record in planted_records() if record.file == file)
    for url, response in itertools.chain(site, planted):
        yield stored_member(arc_record(url, next(dates), response), file)


def _planted_member(planted: Planted, date: str, file: str) -> bytes:
    types = {"response": "application/http; msgtype=response", "revisit": "application/http; msgtype=response"}
    identity = planted.document_id.partition("/")[2]
    fields = {"WARC_Record_ID": f"<urn:uuid:{identity}>", "WARC_Truncated": planted.truncated}
    if planted.damage == "wrong_length":
        fields["Content_Length"] = str(len(planted.block) + 10_000)
    content_type = "text/dns" if planted.url.startswith("dns:") else types.get(planted.kind, "text/plain")
    record = warc_record(planted.kind, planted.url, date, content_type, planted.block, **fields)
    if planted.damage == "stray_bytes":
        return gzip.compress(planted.block, mtime=0)
    member = stored_member(record, file)
    if planted.damage == "cut_off":
        return member[: len(member) // 2]
    if planted.damage == "wrong_checksum":
        return member[:-8] + bytes(byte ^ 0xFF for byte in member[-8:-4]) + member[-4:]
    return torn_gzip(record) if planted.damage == "corrupt" else member


def _dates(file: str) -> Iterator[str]:
    """Dates one second apart. The demo's own pages are crawled first; their copies are crawled a day later."""
    first = _FIRST_DATE if file == PAGES_FILE else _FIRST_DATE + datetime.timedelta(days=1)
    for seconds in itertools.count():
        yield (first + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
