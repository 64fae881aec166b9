"""Writes small archives: WARC and ARC records of HTTP messages, compressed one by one with gzip, zstd or LZ4."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import uuid
import zlib
from collections.abc import Callable, Mapping
from typing import Literal

import brotli
from fastwarc.stream_io import Lz4Writer, ZstdWriter

ContentEncoding = Literal["", "gzip", "deflate", "br"]
_CHUNK_BYTES = 1500
_SOFTWARE = "millrace demo"


def warc_record(kind: str, uri: str, date: str, content_type: str, block: bytes, **fields: str) -> bytes:
    """An uncompressed WARC 1.0 record (ISO 28500:2009).

    Its id depends on `kind` and `uri` only (see `record_id`). `fields` add or replace named fields, with underscores
    for hyphens. Fields with empty values are omitted.
    """
    named = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:{record_id(kind, uri)}>",
        "WARC-Date": date,
        "WARC-Target-URI": uri,
        "WARC-Block-Digest": "sha1:" + base64.b32encode(hashlib.sha1(block).digest()).decode(),
        "Content-Type": content_type,
        "Content-Length": str(len(block)),
    }
    named |= {name.replace("_", "-"): value for name, value in fields.items()}
    return b"WARC/1.0\r\n" + _header_lines(named) + b"\r\n" + block + b"\r\n\r\n"


def record_id(kind: str, uri: str) -> uuid.UUID:
    """The id of the record of this kind for this URI: the same on every run."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{kind} {uri}")


def warcinfo_record(file_name: str, date: str) -> bytes:
    """The first record of a WARC file, which names the software that wrote it."""
    block = f"software: {_SOFTWARE}\r\nformat: WARC File Format 1.0\r\n".encode()
    fields = {"WARC_Filename": file_name, "WARC_Record_ID": f"<urn:uuid:{record_id('warcinfo', file_name)}>"}
    return warc_record("warcinfo", "", date, "application/warc-fields", block, **fields)


def request_record(uri: str, date: str) -> bytes:
    """A crawler's GET request for `uri`."""
    host, _, path = uri.partition("://")[2].partition("/")
    block = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {_SOFTWARE}\r\nAccept: text/html\r\n\r\n".encode()
    return warc_record("request", uri, date, "application/http; msgtype=request", block)


def response_record(uri: str, date: str, block: bytes, **fields: str) -> bytes:
    """The response to a request; `block` is the HTTP message as sent."""
    return warc_record("response", uri, date, "application/http; msgtype=response", block, **fields)


def arc_header(file_name: str, date: str) -> bytes:
    """The version block at the start of an ARC 1.0 file."""
    block = f"1 0 {_SOFTWARE}\nURL IP-address Archive-date Content-type Archive-length\n".encode()
    line = f"filedesc://{file_name} 0.0.0.0 {_digits(date)} text/plain {len(block)}\n"
    return line.encode() + block + b"\n"


def arc_record(uri: str, date: str, block: bytes) -> bytes:
    """An ARC 1.0 URL record with an HTTP message in HTML."""
    return f"{uri} 127.0.0.1 {_digits(date)} text/html {len(block)}\n".encode() + block + b"\n"


def http_response(
    body: bytes,
    content_type: str = "text/html; charset=utf-8",
    *,
    status: str = "200 OK",
    encoding: ContentEncoding = "",
    chunked: bool = False,
    headers: Mapping[str, str] = {},
) -> bytes:
    """An HTTP/1.1 response with `body` compressed and chunked as requested; `headers` override the default ones."""
    encoded = encode_body(body, encoding)
    named = {"Content-Type": content_type}
    if encoding:
        named["Content-Encoding"] = encoding
    if chunked:
        named["Transfer-Encoding"] = "chunked"
        encoded = chunks(encoded)
    else:
        named["Content-Length"] = str(len(encoded))
    named |= headers
    return f"HTTP/1.1 {status}\r\n".encode() + _header_lines(named) + b"\r\n" + encoded


def encode_body(body: bytes, encoding: ContentEncoding) -> bytes:
    """Encode a body with a content encoding (RFC 9110 section 8.4.1)."""
    encoders: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        "gzip": lambda data: gzip.compress(data, mtime=0),
        "deflate": zlib.compress,
        "br": brotli.compress,
    }
    return encoders[encoding](body)


def chunks(body: bytes) -> bytes:
    """Encode a body with the chunked transfer coding (RFC 9112 section 7.1)."""
    pieces = [body[start : start + _CHUNK_BYTES] for start in range(0, len(body), _CHUNK_BYTES)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def stored_member(record: bytes, file_name: str) -> bytes:
    """A record as one member of a file, compressed according to the file's suffix (``.gz``, ``.zst``, ``.lz4``)."""
    if file_name.endswith(".zst"):
        return _framed(ZstdWriter, record)
    if file_name.endswith(".lz4"):
        return _framed(Lz4Writer, record)
    return gzip.compress(record, mtime=0)


def torn_gzip(data: bytes) -> bytes:
    """A gzip member whose second half is overwritten with deflate blocks of the reserved type.

    The first half is readable (RFC 1951 section 3.2.3: block type 3 is an error).
    """
    compressor = zlib.compressobj(wbits=31)
    middle = len(data) // 2
    head = compressor.compress(data[:middle]) + compressor.flush(zlib.Z_FULL_FLUSH)
    return head + b"\x07" * 64


def _framed(writer: type[ZstdWriter] | type[Lz4Writer], data: bytes) -> bytes:
    target = io.BytesIO()
    frame = writer(target)
    while data:
        data = data[frame.write(data) :]
    frame.finish()
    frame.flush()
    return target.getvalue()


def _header_lines(fields: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value).encode()


def _digits(date: str) -> str:
    return "".join(character for character in date if character.isdigit())
