"""Removes the codings of HTTP bodies: gzip, deflate and brotli."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

import brotli

from tasks.sources.gzip_members import salvage
from tasks.sources.reasons import Broken

_UNSUPPORTED = frozenset({"zstd", "compress", "x-compress", "sdch", "dcb", "dcz"})
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_MEMBERS = 10_000  # of one body; at 64 KiB each, as bgzip writes them, 640 MiB
# Input is given in windows that grow, so that a small member does not copy what follows it.
_FIRST_WINDOW = 512
_LARGEST_WINDOW = 1 << 20
# On nearly all other data, a decoder fails before it yields this many bytes; text begins without control bytes.
_PROOF = 64
_CONTROL = re.compile(rb"[\0-\x08\x0b\x0e-\x1f\x7f]")


def remove_coding(coding: str, data: bytes, max_bytes: int) -> tuple[bytes, Broken | None]:
    """The data without one content or transfer coding, up to `max_bytes`, and its fault.

    Data that does not begin as the coding does is returned unchanged, as is data of an unknown coding.
    """
    if coding in ("", "identity") or not data:
        return data, None
    if coding in ("gzip", "x-gzip"):
        return _gunzip(data, max_bytes)
    if coding == "deflate":
        return _inflate(data, max_bytes)
    if coding == "br":
        return _unbrotli(data, max_bytes)
    return data, Broken.unsupported_content_encoding if coding in _UNSUPPORTED else None


def _gunzip(data: bytes, max_bytes: int) -> tuple[bytes, Broken | None]:
    """Inflate all members (RFC 1952 section 2.2). What follows the last one is ignored, as in browsers and gzip."""
    pieces: list[bytes] = []
    position = members = 0
    while data.startswith(_GZIP_MAGIC, position):
        members += 1
        piece, fault, position = _zlib(data, max_bytes, 31, position)
        pieces.append(piece)
        max_bytes -= len(piece)
        if members == _MAX_MEMBERS and data.startswith(_GZIP_MAGIC, position):
            fault = fault or Broken.bad_content_encoding
        if fault is not None:
            return b"".join(pieces), fault
    return (b"".join(pieces), None) if members else (data, None)


def _inflate(data: bytes, max_bytes: int) -> tuple[bytes, Broken | None]:
    """Inflate with or without the zlib wrapper: servers send both (RFC 9110 section 8.4.1.2, note)."""
    if _begins_zlib(data):
        inflated, fault, _ = _zlib(data, max_bytes, zlib.MAX_WBITS)
        if fault is not Broken.bad_content_encoding:
            return inflated, fault
        # A bare stream can begin with these bytes too.
        bare, bare_fault, _ = _zlib(data, max_bytes, -zlib.MAX_WBITS)
        return (bare, None) if bare_fault is None else (inflated, fault)
    inflated, fault, _ = _zlib(data, max_bytes, -zlib.MAX_WBITS)
    broken = fault is Broken.bad_content_encoding
    begun = len(inflated) >= _PROOF and not _begins_as_text(data) if broken else bool(inflated)
    return (inflated, fault) if begun else (data, None)


def _begins_zlib(data: bytes) -> bool:
    """Whether the first two bytes are a zlib header (RFC 1950 section 2.2)."""
    return len(data) > 1 and data[0] & 0x0F == 8 and data[0] >> 4 <= 7 and int.from_bytes(data[:2]) % 31 == 0


def _begins_as_text(data: bytes) -> bool:
    return not _CONTROL.search(data[:_PROOF])


def _zlib(data: bytes, max_bytes: int, wbits: int, start: int = 0) -> tuple[bytes, Broken | None, int]:
    """One stream from `start` on: its data, its fault, and the position behind it."""
    inflater = zlib.decompressobj(wbits)
    pieces: list[bytes] = []
    size = 0
    for rest, end in _windows(data, start):
        full = True
        while full and not inflater.eof:
            checkpoint = inflater.copy()
            limit = min(_LARGEST_WINDOW, max_bytes - size + 1)
            try:
                piece = inflater.decompress(rest, limit)
            except zlib.error:
                return b"".join([*pieces, salvage(checkpoint, rest)]), Broken.bad_content_encoding, end
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                return b"".join(pieces)[:max_bytes], Broken.body_too_large, end
            rest = inflater.unconsumed_tail
            full = bool(rest) or len(piece) == limit
        if inflater.eof:
            return b"".join(pieces), None, end - len(inflater.unused_data)
    whole = b"".join(pieces)
    return whole, None if _lacks_trailer_only(inflater, whole) else Broken.truncated_body, len(data)


def _windows(data: bytes, start: int) -> Iterator[tuple[bytes, int]]:
    """The data from `start` on in windows, each twice as large, and the end of each."""
    size = _FIRST_WINDOW
    while start < len(data):
        end = min(start + size, len(data))
        yield data[start:end], end
        start, size = end, min(2 * size, _LARGEST_WINDOW)


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
    size = passed = 0
    for window, end in _windows(data, 0):
        rest, more = window, True
        while more and not decoder.is_finished():
            try:
                piece = decoder.process(rest, output_buffer_limit=_LARGEST_WINDOW)
            except brotli.error:
                return _broken_brotli(data, passed, end)
            rest = b""
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                return b"".join(pieces)[:max_bytes], Broken.body_too_large
            more = bool(piece) or not decoder.can_accept_more_data()
        if decoder.is_finished():
            return b"".join(pieces), None
        passed = end
    if not size and _begins_as_text(data):
        return data, None
    return b"".join(pieces), Broken.truncated_body


def _broken_brotli(data: bytes, start: int, end: int) -> tuple[bytes, Broken | None]:
    """What a stream yields that breaks, or ends before other bytes, between `start` and `end`."""
    decoder = brotli.Decompressor()
    # Up to `start` it is known to decode, and to how much. A decoder cannot be copied.
    pieces = [decoder.process(data[:start])]
    for index in range(start, end):
        try:
            pieces.append(decoder.process(data[index : index + 1]))
        except brotli.error:
            break
        if decoder.is_finished():
            return b"".join(pieces), None
    found = b"".join(pieces)
    begun = start > 0 or (len(found) >= _PROOF and not _begins_as_text(data))
    return (found, Broken.bad_content_encoding) if begun else (data, None)
