"""The source of web pages: WARC and ARC archives of HTTP responses."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

import pydantic
from resiliparse.parse.encoding import detect_mime

from infra.outcomes import Document, Dropped, Failed, Kept, Outcome, Record
from infra.stage import StageKind, stage
from tasks.rights.licences import declared_licence
from tasks.sources.archives import MAX_RECORD_BYTES, ArchiveFault, ArchiveRecord, read_records
from tasks.sources.charset import decode_page
from tasks.sources.declared import declared_rights
from tasks.sources.extraction import ExtractionError, Extractor, extract_page
from tasks.sources.headers import media_type
from tasks.sources.http import decode_body, message_of
from tasks.sources.markup import MAX_ELEMENTS
from tasks.sources.reasons import Broken, Unwanted
from tasks.sources.repair import RepairConfig, repairing
from tasks.sources.xhtml import as_html

_XHTML = "application/xhtml+xml"
_HTML_TYPES = ("text/html", _XHTML)
_SNIFFED_TYPES = ("", "application/octet-stream", "application/unknown", "unknown/unknown", "*/*")
_SNIFF_WINDOW = 1024
# Possessive, so that the time is linear in the window. A comment that fills it begins an HTML page (WHATWG MIME
# Sniffing section 7.1).
_HTML_START = re.compile(
    rb"(?:\s|\xef\xbb\xbf|<!--(?:(?!-->).)*+-->|<\?xml(?:(?!\?>).)*+\?>)*+"
    rb"<(?:!--|(?:!doctype\s++html|html|head|body|title|meta|link|script|style|h1|p|div|table|font|br|iframe|a|b)[\s/>])",
    re.IGNORECASE | re.DOTALL,
)
_BINARY_TYPES = re.compile(r"image/|audio/|video/|font/|application/(?!octet-stream|xml|xhtml|json|javascript)")
_MOST_REPLACED = 0.1
# Pages with scripts of 10 MB exist. Common Crawl cuts bodies at 5 MiB.
_MAX_BODY_BYTES = 16 << 20
_ARC_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?$")


class WebArchiveConfig(RepairConfig):
    """`source` names the crawl and is the prefix of every id. Sizes are of a stored record and of its decoded body.

    The work on a page grows with `max_elements`: with trafilatura, up to 0.4 ms each.
    """

    source: str = pydantic.Field(default="web", min_length=1, pattern=r"^[^\s/]+$")
    extractor: Extractor = Extractor.millrace
    min_characters: int = pydantic.Field(default=1, ge=1)
    max_record_bytes: int = pydantic.Field(default=MAX_RECORD_BYTES, ge=1 << 10)
    max_body_bytes: int = pydantic.Field(default=_MAX_BODY_BYTES, ge=1 << 10)
    max_elements: int = pydantic.Field(default=MAX_ELEMENTS, ge=1)


@stage(
    "web_archive",
    version=5,
    kind=StageKind.source,
    config=WebArchiveConfig,
    libraries=["FastWARC", "Resiliparse", "trafilatura", "lxml", "warcio", "brotli"],
)
@repairing
def read_web_archive(stream: BinaryIO, name: str, config: WebArchiveConfig) -> Iterator[Record | Outcome]:
    """Yield every record, to be read for its outcome, and an outcome for every stretch that is not a record.

    Bytes count record blocks and skipped stretches. A page is kept if it is an HTML response with status 200 and a text
    of at least `min_characters`. A truncated body is a failure, unless the crawler declared the truncation
    (WARC-Truncated). `name` appears in examples only: documents do not depend on the location of the file.
    """
    for record in read_records(stream, name, config.max_record_bytes):
        if isinstance(record, ArchiveFault):
            yield fault_outcome(record)
        else:
            yield Record(record.block, record.offset, partial(_page, record, name, config))


def fault_outcome(fault: ArchiveFault) -> Failed:
    """A fault of an archive as an entry of the ledger."""
    return Failed(fault.reason, fault.bytes, fault.detail, fault.offset)


def document_id(record: ArchiveRecord, source: str) -> str:
    """The source and the record's own id; for ARC and records without an id, a hash of URI, date and location."""
    if record.id:
        own = record.id.strip("<>").removeprefix("urn:uuid:").lower()
    else:
        place = f"{record.uri}\n{record.date}\n{record.offset}\n{record.inner}"
        own = hashlib.sha1(place.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{source}/{own}"


def iso_date(date: str | None) -> str | None:
    """Convert a WARC date (ISO 8601) or the 12 or 14 digits of an ARC date to ISO 8601 in UTC; None for others."""
    digits = _ARC_DATE.match(date or "")
    if digits:
        year, month, day, hour, minute, second = digits.groups("00")
        return f"{year}-{month}-{day}T{hour}:{minute}:{second}Z"
    return date if date and "-" in date else None


def example_of(record: ArchiveRecord, name: str, detail: str = "") -> str:
    """The location of a record, for people who look for it."""
    return f"{name}, byte {record.offset}: {record.uri or record.id}" + (f": {detail}" if detail else "")


def unwanted_type(record: ArchiveRecord) -> Unwanted:
    """The reason for dropping a record of this type."""
    return Unwanted(record.type) if record.type in Unwanted.__members__ else Unwanted.unknown_type


def _page(record: ArchiveRecord, name: str, config: WebArchiveConfig) -> Outcome:
    size = len(record.block)

    def dropped(reason: Unwanted, detail: str = "") -> Dropped:
        return Dropped(reason, size, example_of(record, name, detail))

    def failed(reason: Broken, detail: str) -> Failed:
        return Failed(reason, size, example_of(record, name, detail), record.offset)

    if record.type != "response":
        return dropped(unwanted_type(record))
    message = message_of(record)
    if message is None:
        return dropped(Unwanted.not_http)
    if message.fault is not None:
        return failed(message.fault, "the HTTP header is not parsed")
    if message.status is None:
        return failed(Broken.bad_http_header, f"no status line: {record.block[:40]!r}")
    if message.status != 200:
        return dropped(Unwanted.http_status, str(message.status))
    if not message.ended:
        return failed(Broken.bad_http_header, "the HTTP header has no end")
    content_type = message.headers.get("content-type", "")
    kind, _ = media_type(content_type)
    if kind not in _HTML_TYPES + _SNIFFED_TYPES:
        return dropped(Unwanted.not_html, kind)
    body = decode_body(message, config.max_body_bytes)
    cut = record.headers.get("warc-truncated") or ("segmented" if "warc-segment-number" in record.headers else None)
    if body.fault is not None and not (body.fault is Broken.truncated_body and cut):
        return failed(body.fault, f"{len(body.data)} bytes could be decoded")
    if not _is_html(body.data, kind, content_type):
        return dropped(Unwanted.not_html, f"{kind or 'no content type'}, but the body is not HTML")
    page = decode_page(body.data, content_type)
    if page.replaced > _MOST_REPLACED * len(page.text):
        return failed(Broken.undecodable, f"{page.replaced} of {len(page.text)} characters are not {page.charset}")
    try:
        markup, utf_8 = (as_html(page.text), None) if kind == _XHTML else (page.text, page.utf_8)
        extracted = extract_page(markup, config.extractor, config.max_elements, utf_8)
    except ExtractionError as error:
        return failed(Broken.extractor_error, str(error))
    text = extracted.text
    if len(text) < config.min_characters:
        return dropped(Unwanted.short_text if text else Unwanted.empty_text)
    rights = declared_rights(message.head, extracted.said, record.uri)
    metadata: dict[str, str | int | float | None] = {
        "offset": record.offset,
        "inner_offset": record.inner,
        "content_type": content_type or None,
        "charset": page.charset,
        "title": extracted.title,
        "payload_bytes": len(body.data),
        "payload_sha1": hashlib.sha1(body.data).hexdigest(),
        "truncated": cut or ("content-length" if body.missing else None),
        **rights,
    }
    document = Document(
        document_id(record, config.source),
        text,
        record.uri,
        iso_date(record.date),
        config.source,
        declared_licence(rights),
        metadata,
    )
    return Kept(document, size)


def _is_html(data: bytes, kind: str, content_type: str) -> bool:
    """Whether a body declared as HTML, or without a type, is HTML: no magic bytes of another format, few NULs."""
    if kind in _SNIFFED_TYPES:
        return _HTML_START.match(data[:_SNIFF_WINDOW]) is not None
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff") or "utf-16" in content_type.lower()
    many_nuls = not wide and data[:_SNIFF_WINDOW].count(b"\0") * 10 > min(len(data), _SNIFF_WINDOW)
    return not many_nuls and not _BINARY_TYPES.match(detect_mime(data))
