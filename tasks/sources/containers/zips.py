"""Reads zip archives (PKWARE APPNOTE 6.3.10), with or without their central directory.

The standard library's reader needs the directory, which a truncated archive has lost.
"""

from __future__ import annotations

import bz2
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from infra.outcomes import Dropped, Failed
from tasks.sources.containers.faults import BadMember, ContainedFile, Found, Limits, NotFile, TooMuch
from tasks.sources.containers.paths import BadPath, checked_path, shown

LOCAL = b"PK\x03\x04"
_CENTRAL, _END, _END_64, _LOCATOR_64 = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
MAGICS = (LOCAL, _END)
_CENTRAL_FIELDS = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL_FIELDS = struct.Struct("<4s2B4HL2L2H")
_LARGEST_COMMENT = 0xFFFF
# 500,000 members of GitHub archives.
_LARGEST_DIRECTORY = 64 << 20
_ENCRYPTED, _SIZES_BEHIND, _UTF_8 = 1 << 0, 1 << 3, 1 << 11
_STORED, _DEFLATED, _BZIP2 = 0, 8, 12
_UNIX = 3
_WIDE = 0xFFFFFFFF
_SMALL = 1 << 20  # bytes that a member may always become


@dataclass(frozen=True, slots=True)
class _Entry:
    """A member as its header, local or in the directory, describes it. `stored` is None where it is unknown."""

    raw: bytes
    flags: int
    method: int
    checksum: int
    stored: int | None
    size: int
    offset: int
    mode: int = 0

    @property
    def path(self) -> str:
        """The path. Without the flag for UTF-8 it should be code page 437; many programs write UTF-8 all the same."""
        try:
            return self.raw.decode("utf-8")
        except UnicodeDecodeError:
            return self.raw.decode("utf-8", "backslashreplace") if self.flags & _UTF_8 else self.raw.decode("cp437")


def read_zip(stream: BinaryIO, name: str, limits: Limits, unwanted: Callable[[str], str | None]) -> Iterator[Found]:
    """Yield the files of an archive in the order of its directory, and an outcome for everything else but folders.

    Without a directory, the members are read one after the other up to the damage. Raises TooMuch.
    """
    end = stream.seek(0, 2)
    most = limits.free_bytes + limits.ratio * end
    directory = _directory(stream, end)
    if directory is None:
        yield from _Members(stream, name, limits, unwanted, most).without_directory(end)
    elif len(directory) > _LARGEST_DIRECTORY:
        detail = f"{name}: the directory has {len(directory)} bytes, more than {_LARGEST_DIRECTORY}"
        yield Failed(BadMember.too_many_members, end, detail, 0)
    else:
        yield from _Members(stream, name, limits, unwanted, most).of(directory)


class _Members:
    def __init__(
        self, stream: BinaryIO, name: str, limits: Limits, unwanted: Callable[[str], str | None], most: int
    ) -> None:
        self._stream, self._name, self._limits, self._unwanted = stream, name, limits, unwanted
        self._most, self._inflated = most, 0

    def of(self, directory: bytes) -> Iterator[Found]:
        position = 0
        while position < len(directory):
            fields = directory[position : position + _CENTRAL_FIELDS.size]
            if len(fields) < _CENTRAL_FIELDS.size or not fields.startswith(_CENTRAL):
                detail = f"{self._name}: byte {position} of the directory begins no entry"
                yield Failed(BadMember.bad_header, len(directory) - position, detail, None)
                return
            entry, position = _central_entry(directory, position, fields)
            yield from self._member(entry)

    def without_directory(self, end: int) -> Iterator[Found]:
        offset = 0
        while offset < end:
            found = _local_entry(self._stream, offset)
            if found is None:
                break
            entry, start = found
            size = end - start if entry.stored is None else entry.stored
            if start + size > end or entry.stored is None:
                break
            yield from self._member(entry)
            offset = start + size
        detail = f"{self._name}, byte {offset}: the archive has no directory, and no whole member begins here"
        yield Failed(BadMember.truncated, end - offset, detail, offset)

    def _member(self, entry: _Entry) -> Iterator[Found]:
        if entry.path.endswith("/"):
            return
        where = f"{self._name}, byte {entry.offset}: {shown(entry.path)}"
        try:
            path = checked_path(entry.path)
        except BadPath as error:
            yield Failed(error.reason, entry.size, f"{where}: {error}", entry.offset)
            return
        kind = stat.S_IFMT(entry.mode)
        reason = self._unwanted(path)
        if kind == stat.S_IFLNK:
            yield Dropped(NotFile.link, entry.size, f"{where} is a link")
        elif kind not in (0, stat.S_IFREG):
            yield Dropped(NotFile.special_file, entry.size, f"{where} is no file (mode {entry.mode:o})")
        elif reason is not None:
            yield Dropped(reason, entry.size, where)
        else:
            yield self._file(entry, path, where)

    def _file(self, entry: _Entry, path: str, where: str) -> Found:
        def failed(reason: BadMember, detail: str) -> Failed:
            return Failed(reason, entry.size, f"{where}: {detail}", entry.offset)

        if entry.flags & _ENCRYPTED:
            return failed(BadMember.encrypted, "the file is encrypted")
        if entry.method not in (_STORED, _DEFLATED, _BZIP2):
            return failed(BadMember.unsupported_compression, f"the compression method {entry.method} is not read")
        if entry.size > self._limits.file_bytes:
            detail = f"the file has {entry.size} bytes, more than {self._limits.file_bytes}"
            return failed(BadMember.file_too_large, detail)
        if entry.size > _SMALL and entry.size > self._limits.ratio * (entry.stored or 0):
            detail = f"{entry.stored} bytes become {entry.size}, more than {self._limits.ratio} times as many"
            return failed(BadMember.expands_too_much, detail)
        found = _local_entry(self._stream, entry.offset)
        if found is None:
            return failed(BadMember.bad_header, "no header of a file is there")
        _, start = found
        self._stream.seek(start)
        stored = self._stream.read(min(entry.stored or 0, self._limits.file_bytes + _LARGEST_COMMENT))
        if len(stored) < (entry.stored or 0):
            return failed(BadMember.truncated, f"{len(stored)} of {entry.stored} stored bytes are there")
        try:
            data = _inflated(stored, entry.method, entry.size)
        except (OSError, EOFError, zlib.error) as error:
            return failed(BadMember.corrupt_member, str(error))
        self._inflated += len(data)
        if self._inflated > self._most:
            raise TooMuch(f"{self._inflated} bytes came of what ends with {where}", entry.offset)
        if len(data) != entry.size:
            return failed(BadMember.corrupt_member, f"it has not the {entry.size} bytes that its header says")
        if zlib.crc32(data) != entry.checksum:
            return failed(BadMember.bad_checksum, "the checksum does not fit")
        return ContainedFile(path, data, entry.offset)


def _inflated(stored: bytes, method: int, size: int) -> bytes:
    """The data, and one byte more than `size` if there are more. Raises OSError, EOFError and zlib.error."""
    if method == _STORED:
        return stored
    if method == _BZIP2:
        return bz2.BZ2Decompressor().decompress(stored, size + 1)
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, size + 1)


def _directory(stream: BinaryIO, end: int) -> bytes | None:
    """The central directory, as far as it may be large; None if there is none at the end of the file."""
    tail_size = min(end, _LARGEST_COMMENT + 22 + 20)
    stream.seek(end - tail_size)
    tail = stream.read(tail_size)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        return None
    size, offset = struct.unpack_from("<LL", tail, at + 12)
    before = end - tail_size + at
    if _WIDE in (size, offset) and at >= 20 and tail.startswith(_LOCATOR_64, at - 20):
        (place,) = struct.unpack_from("<Q", tail, at - 12)
        wide = _read_at(stream, min(place, end), 56)
        if not wide.startswith(_END_64) or len(wide) < 56:
            return None
        size, offset = struct.unpack_from("<QQ", wide, 40)
        before = place
    if offset + size > before:
        return None
    directory = _read_at(stream, offset, min(size, _LARGEST_DIRECTORY + 1))
    return directory if not directory or directory.startswith(_CENTRAL) else None


def _central_entry(directory: bytes, position: int, fields: bytes) -> tuple[_Entry, int]:
    """The entry at a position of the directory, and the position behind it."""
    (_, _, system, _, _, flags, method, _, _, checksum, stored, size, *lengths, _, _, attributes, offset) = (
        _CENTRAL_FIELDS.unpack(fields)
    )
    name, extra, comment = lengths
    start = position + _CENTRAL_FIELDS.size
    raw = directory[start : start + name]
    more = directory[start + name : start + name + extra]
    size, stored, offset = _wide_numbers(more, [size, stored, offset])
    mode = attributes >> 16 if system == _UNIX else 0
    return _Entry(raw, flags, method, checksum, stored, size, offset, mode), start + name + extra + comment


def _local_entry(stream: BinaryIO, offset: int) -> tuple[_Entry, int] | None:
    """The member whose header is at `offset`, and the offset of its data; None if there is no header."""
    fields = _read_at(stream, offset, _LOCAL_FIELDS.size)
    if len(fields) < _LOCAL_FIELDS.size or not fields.startswith(LOCAL):
        return None
    _, _, _, flags, method, _, _, checksum, stored, size, name, extra = _LOCAL_FIELDS.unpack(fields)
    names = stream.read(name + extra)
    size, stored = _wide_numbers(names[name:], [size, stored])
    known = None if flags & _SIZES_BEHIND and not stored else stored
    entry = _Entry(names[:name], flags, method, checksum, known, size, offset)
    return entry, offset + _LOCAL_FIELDS.size + name + extra


def _wide_numbers(extra: bytes, numbers: list[int]) -> list[int]:
    """The numbers, where those that do not fit 32 bits stand in the extra field 1 (section 4.5.3)."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            wide = iter(struct.iter_unpack("<Q", extra[position + 4 : position + 4 + length // 8 * 8]))
            return [next(wide, (number,))[0] if number == _WIDE else number for number in numbers]
        position += 4 + length
    return numbers


def _read_at(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset)
    return stream.read(size)
