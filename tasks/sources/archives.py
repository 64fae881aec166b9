"""Reads web archives record by record: WARC, WET and WAT (ISO 28500) and ARC 1.0, in any supported compression."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from tasks.sources.codecs import Codec, StoredFault
from tasks.sources.headers import arc_fields, named_fields
from tasks.sources.reasons import Broken
from tasks.sources.stored import StoredStream

MAX_RECORD_BYTES = 64 << 20
_MAX_HEADER_BYTES = 64 << 10
_LOOK_AHEAD = 4 << 10
_WARC_START = re.compile(rb"WARC/\d\.\d+[ \t]*\r?\n[A-Za-z][A-Za-z0-9-]*[ \t]*:")
_CUT_WARC_START = re.compile(rb"W(A(R(C(/(\d(\.(\d([ \t]*\r?(\n[A-Za-z0-9-]*[ \t]*)?)?)?)?)?)?)?)?)?")
_ARC_START = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:\S[^\n]{0,4096} \S+ \d{8,18} \S+ \S+\r?\n")
_ANY_START = re.compile(rb"(?:%b|%b)" % (_WARC_START.pattern, _ARC_START.pattern))
_STARTS = (_WARC_START, _ARC_START, _ANY_START)
# Padding and the byte-order mark of a joined file may stand before a record.
_BEHIND = rb"(?:(?<=[\n\0]%b)|(?<=\xef\xbb\xbf%b))"
_LINE_START = {start: re.compile(_BEHIND % (b"", b"") + start.pattern) for start in _STARTS}
# The same, faster: a search for a pattern that begins with fixed bytes skips what has none of them.
_LINE_START[_WARC_START] = re.compile(rb"WARC/" + _BEHIND % (b"WARC/", b"WARC/") + _WARC_START.pattern[5:])
_MEMBER_START = {start: re.compile(rb"(?:[\r\n\0]|\xef\xbb\xbf){0,64}" + start.pattern) for start in _STARTS}
_MARK = b"\xef\xbb\xbf"
_NO_LINE_END = re.compile(rb"[^\r\n]")
_MOST_LINE_ENDS = 64 << 10
_FIRST_LINE_CRLF = re.compile(rb"[^\n]*\r\n")
_HEADER_STOP = {
    _WARC_START: re.compile(rb"\n(?:(?P<end>[ \t\r]*\n)|(?=%b))" % _WARC_START.pattern),
    _ARC_START: re.compile(rb"(?P<end>\n)"),
}
_ARC_BLOCK_STOP = re.compile(rb"\n[^\n]*\n[^\n]*(?P<end>\n)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_ARC_VERSION_BLOCK = re.compile(rb"filedesc:")


@dataclass(frozen=True, slots=True)
class ArchiveRecord:
    """A complete record: its named fields and its block (for HTTP captures: header and body as sent).

    `offset` is the byte in the stored file where the record begins. In a compressed file it is the start of the member
    that holds the record, and `inner` is the record's offset in the decompressed member. `type` is the WARC type, or
    `arc_header` or `response` for ARC. `uri` is without Wget's angle brackets, and in WARC its spaces are %20, as in
    warcio 1.8.1. `headers` has lower-case names; `date` is as stored. `line_ends` are those between the block and the
    next record, no more than 64 KiB of them; they are no part of the record.
    """

    type: str
    uri: str | None
    id: str | None
    date: str | None
    block: bytes = field(repr=False)
    offset: int
    inner: int
    headers: dict[str, str] = field(repr=False)
    line_ends: bytes = field(repr=False, compare=False, default=b"")

    @property
    def content_type(self) -> str:
        """The declared type of the block; for ARC, the declared type of the captured page."""
        return self.headers.get("content-type", "")


@dataclass(frozen=True, slots=True)
class ArchiveFault:
    """Damage: `bytes` decompressed bytes, from `offset` and `inner` on, that yielded no record.

    For a file that is not an archive, `bytes` is its stored size.
    """

    reason: Broken
    offset: int
    inner: int
    bytes: int
    detail: str


def read_records(
    stream: BinaryIO, name: str, max_record_bytes: int = MAX_RECORD_BYTES
) -> Iterator[ArchiveRecord | ArchiveFault]:
    """Yield every record of an archive in stored order, and a fault for every stretch that is not a record.

    The content decides format and compression; `name` appears only in messages. After a fault, reading continues at the
    next compressed member or line that looks like the start of a record. A record larger than `max_record_bytes` is a
    fault; the reader never holds more than that.

    A damaged member may still decompress, to wrong bytes. The reader therefore yields a record only when its member has
    ended with a matching checksum, or when another record follows in the same member. If the member is damaged instead,
    the record and the bytes after it are one fault. Two cases have no such proof: the last record of a file that is
    truncated after it, and, in a member of several records, a record whose trailing blank lines are complete before the
    damage.

    The reader trusts Content-Length when a record or the end follows it. If it is wrong, a record with CRLF line ends
    is a fault. A record with bare LF has passed through a text tool, which changes lengths, so it extends to the start
    of the next record, as cc_net reads WET files (or to the end, if at most one byte per line is missing), unless the
    line ends that separate records stand where its length says.
    """
    stored = StoredStream(stream, _starts_record)
    fault = _pass_beginning(stored, name, max_record_bytes)
    if fault is not None:
        yield fault
    if fault is not None and fault.reason is Broken.not_an_archive:
        return
    start = None
    while True:
        _pass_line_ends(stored)
        if stored.ahead(1):
            stored.ahead(_LOOK_AHEAD)
            start = start or _format(stored)
            yield from _Reader(stored, start or _ANY_START, name, max_record_bytes).read()
        elif stored.fault is not None:
            damage = stored.fault
            yield ArchiveFault(damage.reason, damage.offset, 0, 0, f"{name}: {damage.detail}")
            if not stored.recover():
                return
        else:
            return


def _pass_beginning(stored: StoredStream, name: str, max_record_bytes: int) -> ArchiveFault | None:
    """Move to the first record of the file; return what stands before it, other than a byte-order mark."""
    stored.ahead(_LOOK_AHEAD)
    if stored.held(0, min(len(_MARK), stored.end)) == _MARK:
        stored.position = len(_MARK)
    _pass_line_ends(stored)
    stored.ahead(_LOOK_AHEAD)
    if _format(stored) is not None or (stored.fault is not None and not stored.lost):
        return None
    if stored.lost:
        return _begin_elsewhere(stored, name)
    begins = stored.held(stored.position, min(stored.position + 16, stored.end))
    fault = _Reader(stored, _ANY_START, name, max_record_bytes).skip(Broken.stray_bytes, f"no record: {begins!r}")
    if not stored.ended or stored.position < stored.end:
        return fault
    detail = f"it begins with {begins!r}" if begins else "it is empty"
    return _begin_elsewhere(stored, name) or ArchiveFault(
        Broken.not_an_archive, 0, 0, stored.size, f"{name} is neither WARC nor ARC: {detail}"
    )


def _begin_elsewhere(stored: StoredStream, name: str) -> ArchiveFault | None:
    """Move to the first record in members of another compression than that of the first bytes, if there is one."""
    found = stored.begin_elsewhere()
    if found is None:
        return None
    detail = f"{name}: the first member that starts a record is at byte {found}"
    return ArchiveFault(Broken.stray_bytes, 0, 0, found, detail)


def _starts_record(data: bytes) -> bool:
    return _MEMBER_START[_ANY_START].match(data) is not None


def _format(stored: StoredStream) -> re.Pattern[bytes] | None:
    return next((start for start in (_WARC_START, _ARC_START) if stored.matches(start, stored.position)), None)


def _pass_line_ends(stored: StoredStream) -> None:
    """Move behind all line ends at the cursor, and release what is passed."""
    while not _skip_line_ends(stored, 1):
        stored.release()
    stored.release()


def _skip_line_ends(stored: StoredStream, most: int) -> bool:
    """Move behind the line ends at the cursor. Return False if there are `most` or more and no other byte is held."""
    start = stored.position
    while stored.ahead(1):
        found = stored.search(_NO_LINE_END, stored.position, stored.end)
        stored.position = stored.end if found is None else found
        if found is not None:
            return True
        if stored.position - start >= most:
            return False
    return True


class _Reader:
    """Reads one record at the cursor and moves the cursor to the next one, or to the end."""

    def __init__(self, stored: StoredStream, start: re.Pattern[bytes], name: str, max_record_bytes: int) -> None:
        self.stored, self.start, self.name, self.max_record_bytes = stored, start, name, max_record_bytes
        self.first = stored.position
        self.offset, self.inner = stored.place()

    def read(self) -> Iterator[ArchiveRecord | ArchiveFault]:
        stored = self.stored
        stored.ahead(_LOOK_AHEAD)
        if not stored.matches(self.start, self.first):
            reason = Broken.truncated if self._cut_start() else Broken.stray_bytes
            yield self.skip(reason, "no record starts here")
            return
        header_end = self._header_end()
        if header_end is None:
            last = stored.search(_LINE_START[self.start], self.first + 1, stored.end) is None
            reason = Broken.truncated if stored.ended and last else Broken.bad_header
            yield self.skip(reason, "the header of the record has no end")
            return
        header = stored.held(self.first, header_end)
        headers = arc_fields(header) if self.start is _ARC_START else named_fields(header)
        length = headers.get("content-length", headers.get("length", ""))
        if not _LENGTH.fullmatch(length):
            yield self.skip(Broken.bad_header, f"the length {length!r} is not a number of bytes")
            return
        if self.start is _WARC_START and not headers.get("warc-type"):
            yield self.skip(Broken.bad_header, "the field WARC-Type is missing")
            return
        block = int(length) - (len(header) - header.index(b"\n") - 1 if self.start is _ARC_START else 0)
        yield from self._block(headers, header, header_end, max(block, 0))

    def _cut_start(self) -> bool:
        """Whether the bytes at the cursor are the truncated start of a record."""
        stored = self.stored
        if not stored.ended or stored.end - stored.position > 2 * _LOOK_AHEAD:
            return False
        head = stored.held(stored.position, stored.end)
        if self.start is not _ARC_START:
            return _CUT_WARC_START.fullmatch(head) is not None
        fault = stored.fault
        return b"\n" not in head and (fault is None or fault.reason is Broken.truncated)

    def _header_end(self) -> int | None:
        """The position after the header: for ARC after its line, or after the three lines of the version block.

        None if it has no end within 64 KiB, or before the start of another record.
        """
        stored = self.stored
        block = self.start is _ARC_START and stored.matches(_ARC_VERSION_BLOCK, self.first)
        stop = _ARC_BLOCK_STOP if block else _HEADER_STOP[self.start]
        size = _LOOK_AHEAD
        while True:
            more = stored.ahead(size)
            found = stored.find(stop, self.first, self.first + _MAX_HEADER_BYTES)
            if found is not None:
                return found[1] if found[2] == "end" else None
            if not more or size >= _MAX_HEADER_BYTES:
                return None
            size *= 4

    def _block(
        self, headers: dict[str, str], header: bytes, block_start: int, length: int
    ) -> Iterator[ArchiveRecord | ArchiveFault]:
        stored = self.stored
        if length > self.max_record_bytes:
            stored.position = block_start
            beyond = stored.codec is Codec.none and stored.place(block_start)[0] + length > stored.size
            yield self.skip(Broken.bad_content_length, f"{length} bytes") if beyond else self._pass_over(length)
            return
        block_end = block_start + length
        whole = stored.ahead(block_end - self.first)
        stored.ahead(block_end - self.first + _LOOK_AHEAD)
        held_end = min(block_end, stored.end)
        member = stored.member_start(_MEMBER_START[self.start], block_start, held_end)
        if member is None and whole:
            stored.position = block_end
            # Where blank lines have no end, they are not held, and the member itself shows whether it is intact.
            flooded = not _skip_line_ends(stored, _MOST_LINE_ENDS)
            stored.ahead(_LOOK_AHEAD)
            at_end = flooded or stored.position == stored.end
            damage = self._damage_at_end(block_end) if at_end else None
            if damage is not None:
                yield self.skip(damage.reason, damage.detail)
                return
            at_member = stored.member_between(block_end, stored.position + 1)
            if at_end or at_member or stored.matches(self.start, stored.position) or self._cut_start():
                line_ends = stored.held(block_end, min(stored.position, block_end + _MOST_LINE_ENDS))
                yield self._record(headers, stored.held(block_start, block_end), line_ends)
                return
        inside = stored.search(_LINE_START[self.start], block_start, held_end) if member is None else member
        first_line_end = min(held_end, block_start + _MAX_HEADER_BYTES)
        first_line = header if self.start is _WARC_START else stored.held(block_start, first_line_end)
        trusted = whole and inside is None and self._ends_as_said(block_start, block_end)
        if not _FIRST_LINE_CRLF.match(first_line) and not trusted:
            yield from self._text_block(headers, block_start, block_end, inside)
        elif inside is not None:
            stored.position = inside
            detail = f"its {length} bytes reach into the next record"
            yield self._fault(Broken.bad_content_length, inside - self.first, detail)
        elif whole:
            yield from self._overrun(self._record(headers, stored.held(block_start, block_end)), block_end)
        else:
            detail = f"{stored.end - block_start} of {length} bytes are there"
            yield self.skip(stored.fault.reason if stored.fault else Broken.truncated, detail)

    def _ends_as_said(self, block_start: int, block_end: int) -> bool:
        """Whether a block with bare LF ends where its length says: before what separates it from the next record.

        The lines of ARC's version block have bare LF always, so nothing of it was changed.
        """
        if self.start is _ARC_START and self.stored.matches(_ARC_VERSION_BLOCK, self.first):
            return True
        separator = b"\n\n" if self.start is _WARC_START else b"\n"
        return block_end > block_start and self.stored.held(block_end, block_end + 2).startswith(separator)

    def _damage_at_end(self, block_end: int) -> StoredFault | None:
        """The damage at the end of the last record's member; None if it does not affect that record."""
        damage = self.stored.damage(self.stored.place(block_end - 1)[0])
        if damage is None or damage.reason is Broken.truncated:
            return None
        return damage if damage.reason is Broken.bad_checksum or not self._ends_among_many(block_end) else None

    def _overrun(self, record: ArchiveRecord, block_end: int) -> Iterator[ArchiveRecord | ArchiveFault]:
        """Handle a record that is followed by bytes that start no record.

        These bytes are a fault. If the member is damaged, the fault includes the record, unless `_ends_among_many`
        holds.
        """
        stored = self.stored
        size = block_end - self.first
        member = stored.place(block_end - 1)[0]
        behind = stored.place(block_end)
        ends_among_many = self._ends_among_many(block_end)
        stored.position = block_end
        stored.release()
        passed = 1 + self._pass_to_start(block_end + 1)
        damage = stored.damage(member)
        at_end = stored.position == stored.end
        if at_end and stored.fault is not None:
            stored.recover()
        reason, detail = Broken.bad_content_length, "bytes follow the end that the record's length gives"
        if damage is not None and (at_end or damage.reason is not Broken.truncated):
            reason, detail = damage.reason, damage.detail
            if not ends_among_many:
                yield self._fault(reason, size + passed, detail)
                return
        yield record
        self.offset, self.inner = behind
        yield self._fault(reason, passed, detail)

    def _ends_among_many(self, block_end: int) -> bool:
        """Whether this WARC record is not its member's first and ends in blank lines where its length puts them."""
        line_ends = self.stored.held(block_end, min(block_end + 4, self.stored.end))
        return self.start is _WARC_START and self.inner > 0 and line_ends == b"\r\n\r\n"

    def _text_block(
        self, headers: dict[str, str], block_start: int, block_end: int, boundary: int | None
    ) -> Iterator[ArchiveRecord | ArchiveFault]:
        stored = self.stored
        searched = block_start
        while boundary is None and stored.end - block_start <= self.max_record_bytes:
            boundary = stored.search(_LINE_START[self.start], searched, stored.end)
            searched = max(block_start, stored.end - _LOOK_AHEAD)
            if boundary is None and not self._grow():
                boundary = stored.end
        if boundary is None:
            yield self.skip(Broken.record_too_large, f"more than {self.max_record_bytes} bytes before the next record")
            return
        block = stored.held(block_start, boundary)
        missing = block_end - block_start - len(block)
        damage = stored.damage(stored.place(boundary - 1)[0]) if boundary == stored.end else None
        if missing < 0 and damage is not None:
            yield self.skip(damage.reason, damage.detail)
            return
        if boundary == stored.end and (missing > block.count(b"\n") or (missing > 0 and stored.fault is not None)):
            yield self.skip(Broken.truncated, f"{len(block)} of {block_end - block_start} bytes are there")
            return
        behind = block[block_end - block_start :] if missing < 0 else b""
        if (_MARK in behind or b"\0" in behind) and not behind.replace(_MARK, b"").strip(b"\r\n\0"):
            # Padding is none of the text.
            yield self._record(headers, block[: block_end - block_start])
            stored.position = block_end
            return
        line_ends = b""
        if boundary != stored.end or boundary > block_end:
            text = block.rstrip(b"\n") + b"\n"
            block, line_ends = text, block[len(text) :][:_MOST_LINE_ENDS]
        yield self._record(headers, block, line_ends)
        stored.position = boundary

    def _pass_over(self, length: int) -> ArchiveFault:
        """Skip a block that is too large, holding little of it, up to its end or to a member that starts a record."""
        stored = self.stored
        left = length
        passed = stored.position - self.first
        while left and stored.ahead(1):
            # Detecting the start of a member needs some of its bytes in the buffer.
            beyond = 0 if not stored.ahead(2 * _LOOK_AHEAD) else _LOOK_AHEAD
            step = min(left, stored.end - stored.position - beyond)
            member = stored.member_start(_MEMBER_START[self.start], stored.position, stored.position + step)
            if member is not None:
                step, left = member - stored.position, 0
            stored.position += step
            left = max(left - step, 0)
            passed += step
            stored.release()
        reason = Broken.record_too_large
        detail = f"the record's {length} bytes are more than the {self.max_record_bytes} that are allowed"
        if left and stored.fault is not None and stored.fault.offset == stored.members.last:
            reason = reason if stored.fault.reason is Broken.truncated else stored.fault.reason
            stored.recover()
        return self._fault(reason, passed, detail)

    def skip(self, reason: Broken, detail: str) -> ArchiveFault:
        """Continue at the next position that looks like the start of a record, or at the end of the readable bytes."""
        stored = self.stored
        searched = max(stored.position, self.first + 1)
        passed = searched - self.first + self._pass_to_start(searched)
        if stored.position == stored.end and stored.fault is not None:
            damaged = stored.fault.offset == self.offset and stored.fault.reason is not Broken.truncated
            if damaged or reason in (Broken.truncated, Broken.stray_bytes):
                reason = stored.fault.reason
            stored.recover()
        return self._fault(reason, passed, detail)

    def _pass_to_start(self, searched: int) -> int:
        """Move to the first record start at or after `searched`, or to the end. Return the number of bytes passed."""
        stored = self.stored
        stored.position = searched
        passed = 0
        while True:
            member = stored.member_start(_MEMBER_START[self.start], searched, stored.end)
            line = stored.search(_LINE_START[self.start], searched, stored.end if member is None else member)
            found = member if line is None else line
            if found is not None:
                passed += found - stored.position
                stored.position = found
                return passed
            keep = max(searched, stored.end - _LOOK_AHEAD)
            passed += keep - stored.position
            stored.position = searched = keep
            if not self._grow():
                passed += stored.end - keep
                stored.position = stored.end
                return passed
            stored.release(len(_MARK))

    def _grow(self) -> bool:
        """Hold more bytes, enough that a search from near the old end costs no more than they do."""
        stored = self.stored
        end = stored.end
        stored.ahead(end - stored.position + _LOOK_AHEAD)
        return stored.end > end

    def _fault(self, reason: Broken, size: int, detail: str) -> ArchiveFault:
        where = f"{self.name}, record at byte {self.offset}" + (f" + {self.inner}" if self.inner else "")
        return ArchiveFault(reason, self.offset, self.inner, size, f"{where}: {detail}")

    def _record(self, headers: dict[str, str], block: bytes, line_ends: bytes = b"") -> ArchiveRecord:
        if self.start is _ARC_START:
            uri = headers["uri"]
            kind = "arc_header" if uri.startswith("filedesc://") else "response"
            date = headers["archive-date"]
            return ArchiveRecord(kind, uri, None, date, block, self.offset, self.inner, headers, line_ends)
        uri_field = headers.get("warc-target-uri")
        if uri_field is not None:
            uri_field = uri_field[1:-1] if uri_field.startswith("<") and uri_field.endswith(">") else uri_field
            uri_field = uri_field.replace(" ", "%20")
        return ArchiveRecord(
            headers["warc-type"],
            uri_field,
            headers.get("warc-record-id"),
            headers.get("warc-date"),
            block,
            self.offset,
            self.inner,
            headers,
            line_ends,
        )
