"""Parses named fields of records and messages: WARC and HTTP headers, and the URL-record line of ARC 1.0."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from warcio.recordloader import ARCHeadersParser

_FOLDED = (" ", "\t")
_TYPE = re.compile(r"\s*+([^\s/;,]++)\s*+/\s*+([^\s;,]++)")
_CHARSET = re.compile(r"""\bcharset\s*+=\s*+["']?+\s*+([^\s"';,]++)""", re.IGNORECASE)


def named_fields(header: bytes) -> dict[str, str]:
    """The fields of a WARC header, without its first line: lower-case names; the first of equal names counts."""
    fields: dict[str, str] = {}
    for name, value in field_lines(header):
        fields.setdefault(name, value)
    return fields


def http_fields(header: bytes) -> dict[str, str]:
    """The fields of an HTTP header, without its first line: lower-case names; values of equal names as one list.

    A list is joined with commas (RFC 9110 section 5.3).
    """
    values: dict[str, list[str]] = {}
    for name, value in field_lines(header):
        values.setdefault(name, []).append(value)
    return {name: ", ".join(found) for name, found in values.items()}


def field_lines(header: bytes) -> list[tuple[str, str]]:
    """The fields of a header, without its first line: names in lower case, and values.

    Lines are decoded as UTF-8, or as Latin-1 if they are not valid UTF-8. A line that starts with a space continues the
    previous field, after one blank (RFC 9112 section 5.2). A line without a colon is ignored.
    """
    if b"\n " in header or b"\n\t" in header:
        return list(_folded_fields(header))
    try:
        text = header.decode("utf-8")
    except UnicodeDecodeError:
        return list(_folded_fields(header))
    parts = [line.partition(":") for line in text.split("\n")[1:]]
    return [(own, value.strip()) for name, colon, value in parts if colon and (own := name.strip().lower())]


def arc_fields(header: bytes) -> dict[str, str]:
    """The fields `uri`, `ip-address`, `archive-date`, `content-type` and `length` of an ARC 1.0 record, as in warcio.

    `header` is the record's line; for the version block it includes the next two lines.
    """
    return dict(ARCHeadersParser().parse(io.BytesIO(header)).headers)


def media_type(content_type: str) -> tuple[str, str | None]:
    """The media type, in lower case, and the charset that a Content-Type field names; "" and None without them.

    Of a list, the last type counts, but not `*/*`, and the charset of an equal type before it holds for it (WHATWG
    Fetch, "extract a MIME type"). Missing semicolons, commas in their place and blanks around `/` and `=` are accepted.
    """
    kind, charset = "", None
    for part in content_type.split(","):
        found = _TYPE.match(part)
        own = f"{found[1]}/{found[2]}".lower() if found else kind
        if own == "*/*" and kind:
            continue
        if own != kind:
            kind, charset = own, None
        if named := _CHARSET.search(part):
            charset = named[1]
    return kind, charset


def _folded_fields(header: bytes) -> Iterator[tuple[str, str]]:
    """The same where lines continue or differ in their encoding."""
    name, pieces = "", [""]
    for line in header.split(b"\n")[1:]:
        text = _decoded(line.rstrip(b"\r"))
        if text.startswith(_FOLDED):
            pieces.append(text.strip())
            continue
        if name:
            yield name, " ".join(pieces).strip()
        name, colon, value = text.partition(":")
        name = name.strip().lower() if colon else ""
        pieces = [value.strip()]
    if name:
        yield name, " ".join(pieces).strip()


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")
