"""Captured HTTP messages: header, transfer and content encodings, character sets."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field

import brotli

from tasks.sources.archives import ArchiveRecord
from tasks.sources.compression import salvage
from tasks.sources.headers import named_fields
from tasks.sources.reasons import Broken

_HTTP_TYPES = ("response", "request", "revisit")
_HTTP_SCHEMES = ("http:", "https:")
_HEADER_END = re.compile(rb"\n[ \t\r\x0b\x0c]*\n")
_STATUS = re.compile(rb"HTTP/\d[.\d]*[ \t]+(\d{3})\b", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]+)(?:;[^\r\n]*)?\r\n")
_UNSUPPORTED = ("zstd", "compress", "x-compress", "sdch", "dcb", "dcz")
_LARGEST_CHUNK = 1 << 31
_GZIP_MAGIC = b"\x1f\x8b"
# On nearly all other data, a decoder fails before it yields this many bytes; text begins without control bytes.
_PROOF = 64
_CONTROL = re.compile(rb"[\0-\x08\x0b\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Message:
    """A captured message: `status` is None for requests and without a status line; `body` is as sent."""

    status: int | None
    headers: dict[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Body:
    """A body without its transfer and content encodings. With a `fault`, `data` is the part decoded before it."""

    data: bytes = field(repr=False)
    fault: Broken | None = None


def message_of(record: ArchiveRecord) -> Message | None:
    """The HTTP message in a record's block; None if it holds none.

    A request, response or revisit holds one if its URI or its content type indicates HTTP.
    """
    said = (record.uri or "").startswith(_HTTP_SCHEMES) or record.content_type.startswith("application/http")
    if record.type not in _HTTP_TYPES or not said or not record.block:
        return None
    head, body = _split(record.block)
    status = _STATUS.match(head)
    return Message(int(status[1]) if status else None, named_fields(head), body)


def payload_of(record: ArchiveRecord, max_bytes: int) -> Body:
    """The payload of a record: the decoded HTTP body, or the block itself if there is no HTTP message."""
    message = message_of(record)
    return Body(record.block) if message is None else decode_body(message, max_bytes)


def decode_body(message: Message, max_bytes: int) -> Body:
    """Remove chunking and compression from the body, up to `max_bytes` of output.

    Headers of servers and crawlers can be wrong, and many crawlers store decoded bodies under the original header. A
    body that does not begin as its header claims (chunked, gzip, deflate, br) is therefore returned unchanged, as in
    warcio. A body that begins correctly and then breaks has a fault. Only gzip and zlib begin with known bytes. A
    broken brotli or bare deflate stream is recognised by the bytes decoded before the break, and by a start that is not
    text.
    """
    data, fault = message.body, None
    if message.headers.get("transfer-encoding", "").strip().lower() == "chunked":
        data, fault = _dechunk(data)
    for encoding in reversed(message.headers.get("content-encoding", "").lower().split(",")):
        if fault is None:
            data, fault = _decompress(encoding.strip(), data, max_bytes)
    if fault is None and len(data) > max_bytes:
        data, fault = data[:max_bytes], Broken.body_too_large
    return Body(data, fault)


def _split(block: bytes) -> tuple[bytes, bytes]:
    line_end = block.find(b"\n") + 1
    if not block[:line_end].strip():
        return b"", block[line_end:]
    end = _HEADER_END.search(block)
    return (block[: end.end()], block[end.end() :]) if end else (block, b"")


def _dechunk(body: bytes) -> tuple[bytes, Broken | None]:
    """Join the chunks (RFC 9112 section 7.1); return an unchunked body unchanged."""
    pieces: list[bytes] = []
    position = 0
    while True:
        line = _CHUNK_SIZE.match(body, position)
        size = int(line[1], 16) if line else _LARGEST_CHUNK + 1
        if line is None or size > _LARGEST_CHUNK:
            if not pieces:
                return body, None
            cut = body.find(b"\n", position) == -1
            return b"".join(pieces), Broken.truncated_body if cut else Broken.bad_chunking
        if size == 0:
            return b"".join(pieces), None
        end = line.end() + size
        pieces.append(body[line.end() : end])
        if end > len(body):
            return b"".join(pieces), Broken.truncated_body
        if body[end : end + 2] != b"\r\n":
            return b"".join(pieces), Broken.truncated_body if len(body) < end + 2 else Broken.bad_chunking
        position = end + 2


def _decompress(encoding: str, data: bytes, max_bytes: int) -> tuple[bytes, Broken | None]:
    if encoding in ("", "identity") or not data:
        return data, None
    if encoding in ("gzip", "x-gzip"):
        return _gunzip(data, max_bytes)
    if encoding == "deflate":
        return _inflate(data, max_bytes)
    if encoding == "br":
        return _unbrotli(data, max_bytes)
    return data, Broken.unsupported_content_encoding if encoding in _UNSUPPORTED else None


def _gunzip(data: bytes, max_bytes: int) -> tuple[bytes, Broken | None]:
    return _zlib(data, max_bytes, wbits=31) if data.startswith(_GZIP_MAGIC) else (data, None)


def _inflate(data: bytes, max_bytes: int) -> tuple[bytes, Broken | None]:
    """Inflate with or without the zlib wrapper: servers send both (RFC 9110 section 8.4.1.2, note)."""
    if _begins_zlib(data):
        inflated, fault = _zlib(data, max_bytes, zlib.MAX_WBITS)
        if fault is not Broken.bad_content_encoding:
            return inflated, fault
        # A bare stream can begin with these bytes too.
        bare, bare_fault = _zlib(data, max_bytes, -zlib.MAX_WBITS)
        return (bare, None) if bare_fault is None else (inflated, fault)
    inflated, fault = _zlib(data, max_bytes, -zlib.MAX_WBITS)
    broken = fault is Broken.bad_content_encoding
    begun = len(inflated) >= _PROOF and not _begins_as_text(data) if broken else bool(inflated)
    return (inflated, fault) if begun else (data, None)


def _begins_zlib(data: bytes) -> bool:
    """Whether the first two bytes are a zlib header (RFC 1950 section 2.2)."""
    return len(data) > 1 and data[0] & 0x0F == 8 and data[0] >> 4 <= 7 and int.from_bytes(data[:2]) % 31 == 0


def _begins_as_text(data: bytes) -> bool:
    return not _CONTROL.search(data[:_PROOF])


def _zlib(data: bytes, max_bytes: int, wbits: int) -> tuple[bytes, Broken | None]:
    inflater = zlib.decompressobj(wbits)
    pieces: list[bytes] = []
    size = 0
    rest = data
    while not inflater.eof:
        checkpoint = inflater.copy()
        try:
            piece = inflater.decompress(rest, min(1 << 20, max_bytes - size + 1))
        except zlib.error:
            return b"".join([*pieces, salvage(checkpoint, rest)]), Broken.bad_content_encoding
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            return b"".join(pieces)[:max_bytes], Broken.body_too_large
        rest = inflater.unconsumed_tail
        if not piece and not rest:
            break
    whole = b"".join(pieces)
    return whole, None if inflater.eof or _lacks_trailer_only(inflater, whole) else Broken.truncated_body


def _lacks_trailer_only(inflater: zlib._Decompress, data: bytes) -> bool:
    """Whether a member lacks only its CRC-32 and size (RFC 1952 section 2.3.1), or their last bytes."""
    trailer = zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")
    return any(_ends_with(inflater.copy(), trailer[-missing:]) for missing in range(1, 9))


def _ends_with(inflater: zlib._Decompress, tail: bytes) -> bool:
    try:
        return not inflater.decompress(tail) and inflater.eof
    except zlib.error:
        return False


def _unbrotli(data: bytes, max_bytes: int) -> tuple[bytes, Broken | None]:
    decoder = brotli.Decompressor()
    pieces: list[bytes] = []
    size = 0
    rest = data
    while not decoder.is_finished():
        try:
            piece = decoder.process(rest, output_buffer_limit=1 << 20)
        except brotli.error:
            begun = size > 0 or (_begins_brotli(data) and not _begins_as_text(data))
            return (b"".join(pieces), Broken.bad_content_encoding) if begun else (data, None)
        rest = b""
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            return b"".join(pieces)[:max_bytes], Broken.body_too_large
        if not piece and decoder.can_accept_more_data():
            break
    if not size:
        return data, None
    return b"".join(pieces), None if decoder.is_finished() else Broken.truncated_body


def _begins_brotli(data: bytes) -> bool:
    """Whether a broken stream yields bytes before it breaks. They appear only if it is decoded byte by byte."""
    decoder = brotli.Decompressor()
    size = 0
    for index in range(len(data)):
        try:
            size += len(decoder.process(data[index : index + 1]))
        except brotli.error:
            return False
        if size >= _PROOF:
            return True
    return False
