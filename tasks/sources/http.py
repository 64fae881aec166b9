"""Captured HTTP messages: header, and body without its transfer and content codings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tasks.sources.archives import ArchiveRecord
from tasks.sources.codings import remove_coding
from tasks.sources.headers import http_fields
from tasks.sources.reasons import Broken

_HTTP_TYPES = ("response", "request", "revisit")
_HTTP_SCHEMES = ("http:", "https:")
_HEADER_END = re.compile(rb"\n[ \t\r\x0b\x0c]*\n")
_STATUS = re.compile(rb"HTTP/\d[.\d]*[ \t]+(\d{3})\b", re.IGNORECASE)
_INTERIM = re.compile(rb"HTTP/\d[.\d]*[ \t]+(?:1(?!01)\d\d\b|200[ \t]+connection established)", re.IGNORECASE)
_MOST_INTERIM = 8
# Robust readers accept blanks around a size, leading zeros and a bare LF (RFC 9112 sections 2.2 and 7.1).
_CHUNK_SIZE = re.compile(rb"[ \t]*+0*+([0-9A-Fa-f]{0,16}+)(?<=[0-9A-Fa-f])[ \t]*+(?:;[^\n]*+|\r?+)\n")
_CHUNK_END = re.compile(rb"\r?+\n")
_LARGEST_CHUNK = 1 << 31
_MAX_HEADER_BYTES = 256 << 10  # as Chromium (HttpStreamParser::kMaxHeaderBufSize)
_MAX_CODINGS = 8
_LENGTH_DIGITS = 19


@dataclass(frozen=True, slots=True)
class Message:
    """A captured message: `status` is None for requests and without a status line; `body` is as sent.

    With a `fault`, the header was not parsed. `ended` is whether a blank line ends the header. `head` is the header.
    """

    status: int | None
    headers: dict[str, str]
    body: bytes = field(repr=False)
    fault: Broken | None = None
    ended: bool = True
    head: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Body:
    """A body without its transfer and content codings. With a `fault`, `data` is the part decoded before it.

    `missing` is how many bytes of a body without codings did not arrive, according to its Content-Length.
    """

    data: bytes = field(repr=False)
    fault: Broken | None = None
    missing: int = 0


def message_of(record: ArchiveRecord) -> Message | None:
    """The HTTP message in a record's block; None if it holds none.

    A request, response or revisit holds one if its URI or its content type indicates HTTP. Interim responses before it
    (RFC 9110 section 15.2), and a proxy's answer to CONNECT, are passed over. A header of more than 256 KiB is a fault.
    """
    schemes = (record.uri or "")[: len("https:")].lower()
    said = schemes.startswith(_HTTP_SCHEMES) or record.content_type.lower().startswith("application/http")
    if record.type not in _HTTP_TYPES or not said or not record.block:
        return None
    block = record.block
    for _ in range(_MOST_INTERIM):
        head, body, ended = _split(block)
        if not (_INTERIM.match(head) and _STATUS.match(body)):
            break
        block = body
    if len(head) > _MAX_HEADER_BYTES:
        return Message(None, {}, body, Broken.http_header_too_large)
    status = _STATUS.match(head)
    return Message(int(status[1]) if status else None, http_fields(head), body, None, ended, head)


def payload_of(record: ArchiveRecord, max_bytes: int) -> Body:
    """The payload of a record: the decoded HTTP body, or the block itself if there is no HTTP message."""
    message = message_of(record)
    return Body(record.block) if message is None else decode_body(message, max_bytes)


def decode_body(message: Message, max_bytes: int) -> Body:
    """Remove transfer and content codings from the body, up to `max_bytes` of output.

    Headers of servers and crawlers can be wrong, and many crawlers store decoded bodies under the original header. A
    body that does not begin as its header claims (chunked, gzip, deflate, br) is therefore returned unchanged, as in
    warcio, and its Content-Length says nothing. A body that begins correctly and then breaks has a fault. Only gzip and
    zlib begin with known bytes. A broken brotli or bare deflate stream is recognised by the bytes decoded before the
    break, and by a start that is not text. More than eight codings are a fault.
    """
    transfer = _listed(message.headers.get("transfer-encoding", ""))
    content = _listed(message.headers.get("content-encoding", ""))
    if len(transfer) + len(content) > _MAX_CODINGS:
        return Body(b"", Broken.bad_content_encoding)
    data, fault = message.body, None
    for coding in reversed(content + transfer):
        if fault is None and coding == "chunked":
            data, fault = _dechunk(data)
        elif fault is None:
            data, fault = remove_coding(coding, data, max_bytes)
    if fault is None and len(data) > max_bytes:
        data, fault = data[:max_bytes], Broken.body_too_large
    return Body(data, fault, 0 if transfer or content else _missing(message))


def _listed(codings: str) -> list[str]:
    names = (name.strip().lower() for name in codings.split(","))
    return [name for name in names if name not in ("", "identity")]


def _missing(message: Message) -> int:
    lengths = {length.strip() for length in message.headers.get("content-length", "").split(",")}
    length = lengths.pop()
    known = not lengths and length.isascii() and length.isdecimal() and len(length) < _LENGTH_DIGITS
    return max(0, int(length) - len(message.body)) if known else 0


def _split(block: bytes) -> tuple[bytes, bytes, bool]:
    """The header, what follows it, and whether the header has an end."""
    line_end = block.find(b"\n") + 1
    if not block[:line_end].strip():
        return b"", block[line_end:], True
    end = _HEADER_END.search(block)
    return (block[: end.end()], block[end.end() :], True) if end else (block, b"", False)


def _dechunk(body: bytes) -> tuple[bytes, Broken | None]:
    """Join the chunks (RFC 9112 section 7.1); return an unchunked body unchanged."""
    pieces: list[bytes] = []
    position = 0
    while True:
        line = _CHUNK_SIZE.match(body, position)
        size = int(line[1] or b"0", 16) if line else _LARGEST_CHUNK + 1
        if line is None or size > _LARGEST_CHUNK:
            if not pieces:
                return body, None
            cut = body.find(b"\n", position) == -1
            return b"".join(pieces), Broken.truncated_body if cut else Broken.bad_chunking
        if size == 0:
            return b"".join(pieces), None
        end = line.end() + size
        pieces.append(body[line.end() : end])
        following = _CHUNK_END.match(body, end)
        if following is None:
            cut = body[end:] in (b"", b"\r")
            return b"".join(pieces), Broken.truncated_body if cut else Broken.bad_chunking
        position = following.end()
