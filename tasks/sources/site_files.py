"""The source of what sites say to robots and miners: captures of ``/robots.txt`` and ``/.well-known/tdmrep.json``.

Common Crawl has those of robots.txt in archives of their own (``robotstxt``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import BinaryIO
from urllib.parse import urljoin

import pydantic

from infra.outcomes import Document, Dropped, Failed, Kept, Outcome, Record
from infra.stage import StageConfig, StageKind, stage
from tasks.sources.archives import MAX_RECORD_BYTES, ArchiveFault, ArchiveRecord, read_records
from tasks.sources.http import decode_body, message_of
from tasks.sources.reasons import Broken, Unwanted
from tasks.sources.web_archive import document_id, example_of, fault_outcome, iso_date, unwanted_type
from tasks.text.urls import parse_url

ROBOTS, TDMREP = "/robots.txt", "/.well-known/tdmrep.json"
# RFC 9309 section 2.5: at least this much must be read; Google reads no more.
_MOST_BYTES = 500 << 10
_MAX_BODY_BYTES = 16 << 20
_LONGEST_LOCATION = 2_000


class SiteFilesConfig(StageConfig):
    """`source` names the source, and is the prefix of every id. `max_record_bytes` is of a stored record."""

    source: str = pydantic.Field(default="sites", min_length=1, pattern=r"^[^\s/]+$")
    max_record_bytes: int = pydantic.Field(default=MAX_RECORD_BYTES, ge=1 << 10)


@stage(
    "site_files", version=1, kind=StageKind.source, config=SiteFilesConfig, libraries=["FastWARC", "warcio", "brotli"]
)
def read_site_files(stream: BinaryIO, name: str, config: SiteFilesConfig) -> Iterator[Record | Outcome]:
    """Yield every record of a web archive, to be read for its outcome. Captures of the two files are documents.

    Their text is the body, as UTF-8 without a byte-order mark, or empty for a status other than 2xx. Of more than 500
    KiB the rest is left out, from the last line end on. ``cut`` in the metadata is 1 then, and where the crawler cut.
    They also have the ``status`` and, of a redirect, its ``location``. Other responses are dropped as `other_page`.
    """
    for record in read_records(stream, name, config.max_record_bytes):
        if isinstance(record, ArchiveFault):
            yield fault_outcome(record)
        else:
            yield Record(record.block, record.offset, partial(_capture, record, name, config))


def _capture(record: ArchiveRecord, name: str, config: SiteFilesConfig) -> Outcome:
    size = len(record.block)

    def failed(reason: Broken, detail: str) -> Failed:
        return Failed(reason, size, example_of(record, name, detail), record.offset)

    if record.type != "response":
        return Dropped(unwanted_type(record), size, example_of(record, name))
    url = parse_url(record.uri)
    if url is None or url.target not in (ROBOTS, TDMREP):
        return Dropped(Unwanted.other_page, size, example_of(record, name))
    message = message_of(record)
    if message is None:
        return Dropped(Unwanted.not_http, size, example_of(record, name))
    if message.fault is not None:
        return failed(message.fault, "the HTTP header is not parsed")
    if message.status is None or not message.ended:
        return failed(Broken.bad_http_header, f"no status line, or no end: {record.block[:40]!r}")
    location = None
    if 300 <= message.status < 400:
        location = _absolute(record.uri or "", message.headers.get("location", ""))
    data, cut = b"", False
    if 200 <= message.status < 300:
        body = decode_body(message, _MAX_BODY_BYTES)
        data, cut = body.data, len(body.data) > _MOST_BYTES or "warc-truncated" in record.headers
        if body.fault not in (None, Broken.body_too_large) and not (body.fault is Broken.truncated_body and cut):
            return failed(body.fault, f"{len(body.data)} bytes could be decoded")
    metadata: dict[str, str | int | float | None] = {
        "offset": record.offset,
        "inner_offset": record.inner,
        "status": message.status,
        "location": location,
        "cut": int(cut),
    }
    if cut:
        data = data[: 1 + max(data.rfind(end, 0, _MOST_BYTES) for end in (b"\n", b"\r"))]
    text = data.decode("utf-8-sig", "replace")
    document = Document(
        document_id(record, config.source), text, record.uri, iso_date(record.date), config.source, None, metadata
    )
    return Kept(document, size)


def _absolute(url: str, location: str) -> str | None:
    try:
        return urljoin(url, location.strip())[:_LONGEST_LOCATION] or None
    except ValueError:
        return None
