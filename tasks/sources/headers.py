"""Parses named fields of records and messages: WARC and HTTP headers, and the URL-record line of ARC 1.0."""

from __future__ import annotations

import io

from warcio.recordloader import ARCHeadersParser


def named_fields(header: bytes) -> dict[str, str]:
    """The fields of a WARC or HTTP header, without its first line: lower-case names; the first of equal names counts.

    Lines are decoded as UTF-8, or as Latin-1 if they are not valid UTF-8. A line that starts with a space continues the
    previous field. A line without a colon is ignored.
    """
    fields: dict[str, str] = {}
    last: str | None = None
    for line in header.split(b"\n")[1:]:
        text = _decoded(line.rstrip(b"\r"))
        if text[:1] in (" ", "\t"):
            if last is not None:
                fields[last] = f"{fields[last]} {text.strip()}"
            continue
        name, colon, value = text.partition(":")
        last = name.strip().lower() if colon else None
        if last in fields:
            last = None
        if last is not None:
            fields[last] = value.strip()
    return fields


def arc_fields(header: bytes) -> dict[str, str]:
    """The fields `uri`, `ip-address`, `archive-date`, `content-type` and `length` of an ARC 1.0 record, as in warcio.

    `header` is the record's line; for the version block it includes the next two lines.
    """
    return dict(ARCHeadersParser().parse(io.BytesIO(header)).headers)


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")
