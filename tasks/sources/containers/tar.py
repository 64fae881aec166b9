"""Reads tar archives as streams: ustar, GNU and pax (POSIX.1-2001, `pax`, "ustar Interchange Format").

The standard library's reader holds extended headers of any size, and its release of Python decides what it does with
damaged ones.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from infra.outcomes import Dropped, Failed
from tasks.sources.containers.faults import BadMember, ContainedFile, Found, Limits, NotFile
from tasks.sources.containers.inflating import Inflated
from tasks.sources.containers.paths import BadPath, checked_path, shown

BLOCK = 512
_LARGEST_EXTENSION = 1 << 20  # of a pax header or a long name
_LARGEST_FILE = 1 << 53
_USTAR = b"ustar"
_GNU = b"ustar  \0"
_EMPTY = bytes(BLOCK)
_LINKS = b"12"
_SPECIAL = b"346VMD"
_FOLDER, _SPARSE, _PAX, _GLOBAL, _LONG_NAME, _LONG_LINK = b"5", b"S", b"x", b"g", b"L", b"K"
_SPARSE_CHAINED = 482  # byte of an old GNU header: more blocks with the map of the holes follow
_CHAINED = 504  # the same byte of such a block


def is_tar(head: bytes) -> bool:
    """Whether the first block of a file is a tar header, perhaps a damaged one."""
    return head[257:262] == _USTAR or (len(head) >= BLOCK and any(head[:100]) and _checksum_fits(head))


def read_tar(source: Inflated, name: str, limits: Limits, unwanted: Callable[[str], str | None]) -> Iterator[Found]:
    """Yield the files of an archive in order, and an outcome for everything else but folders.

    After a damaged header, reading continues at the next header. Raises StoredFault and TooMuch.
    """
    given = _Extended()
    ended = False
    while block := source.read(BLOCK):
        start = source.position - len(block)
        if len(block) < BLOCK:
            yield Failed(BadMember.truncated, len(block), f"{name}, byte {start}: a header is cut", start)
            return
        if block == _EMPTY:
            ended = True
            continue
        try:
            header = _parse(block)
            found = yield from _member(source, header, given, start, name, limits, unwanted)
            if found is None:
                return
            given, ended = found, False
        except _BadHeader as error:
            passed = BLOCK + _pass_to_header(source)
            reason = BadMember.stray_bytes if ended else BadMember.bad_header
            yield Failed(reason, passed, f"{name}, byte {start}: {error}", start)
            given = _Extended()
    if not ended:
        detail = f"{name}, byte {source.position}: the archive has no end"
        yield Failed(BadMember.truncated, 0, detail, source.position)


@dataclass(frozen=True, slots=True)
class _Header:
    path: bytes
    size: int
    kind: bytes
    link: bytes
    chained: bool


@dataclass(frozen=True, slots=True)
class _Extended:
    """What extended headers say of the next member."""

    path: bytes | None = None
    size: int | None = None
    sparse: bool = False


class _BadHeader(Exception):
    """A block is no header."""


def _member(
    source: Inflated,
    header: _Header,
    given: _Extended,
    start: int,
    name: str,
    limits: Limits,
    unwanted: Callable[[str], str | None],
) -> Generator[Found, None, _Extended | None]:
    """Yield the outcome of one member; return what it says of the next one, or None if it is cut."""
    if header.kind in (_PAX, _GLOBAL, _LONG_NAME, _LONG_LINK):
        if header.size > _LARGEST_EXTENSION:
            raise _BadHeader(f"an extended header has {header.size} bytes")
        content = source.read(_padded(header.size))[: header.size]
        if header.kind == _PAX:
            return _pax(content, given)
        return _Extended(content.rstrip(b"\0"), given.size, given.sparse) if header.kind == _LONG_NAME else given
    raw = header.path if given.path is None else given.path
    size = header.size if given.size is None else given.size
    where = f"{name}, byte {start}: {shown(raw)}"
    if header.kind in _LINKS:
        yield Dropped(NotFile.link, 0, f"{where} is a link to {shown(header.link)}")
    elif header.kind in _SPECIAL:
        source.skip(_padded(size) if header.kind in b"MD" else 0)
        yield Dropped(NotFile.special_file, 0, f"{where} is no file (type {header.kind!r})")
    elif header.kind != _FOLDER and not raw.endswith(b"/"):
        if header.chained:
            while (more := source.read(BLOCK)) and len(more) == BLOCK and more[_CHAINED]:
                pass
        sparse = given.sparse or header.kind == _SPARSE
        found = _file(source, raw, size, start, where, limits, sparse, unwanted)
        yield found
        if isinstance(found, Failed) and found.reason == BadMember.truncated:
            return None
    return _Extended()


def _file(
    source: Inflated,
    raw: bytes,
    size: int,
    start: int,
    where: str,
    limits: Limits,
    sparse: bool,
    unwanted: Callable[[str], str | None],
) -> Found:
    refused: Failed | Dropped | None = None
    path = ""
    try:
        path = checked_path(raw)
    except BadPath as error:
        refused = Failed(error.reason, size, f"{where}: {error}", start)
    if refused is None and (reason := unwanted(path)) is not None:
        refused = Dropped(reason, size, where)
    if refused is None and sparse:
        refused = Failed(BadMember.sparse_file, size, f"{where} has holes, which are not read", start)
    if refused is None and size > limits.file_bytes:
        detail = f"{where} has {size} bytes, more than {limits.file_bytes}"
        refused = Failed(BadMember.file_too_large, size, detail, start)
    if refused is not None:
        passed = source.skip(size)
        data = b""
    else:
        data = source.read(size)
        passed = len(data)
    if passed < size:
        return Failed(BadMember.truncated, passed, f"{where}: {passed} of {size} bytes are there", start)
    source.skip(_padded(size) - size)
    return refused or ContainedFile(path, data, start)


def _parse(block: bytes) -> _Header:
    if not _checksum_fits(block):
        raise _BadHeader("the checksum of the header does not fit")
    size = _number(block[124:136])
    if not 0 <= size <= _LARGEST_FILE:
        raise _BadHeader(f"the header says that the file has {size} bytes")
    kind = block[156:157]
    path = block[:100].partition(b"\0")[0]
    if block[257:262] == _USTAR and block[257:265] != _GNU:
        prefix = block[345:500].partition(b"\0")[0]
        path = prefix + b"/" + path if prefix else path
    chained = kind == _SPARSE and block[_SPARSE_CHAINED] != 0
    return _Header(path, size, kind, block[157:257].partition(b"\0")[0], chained)


def _checksum_fits(block: bytes) -> bool:
    try:
        stored = _number(block[148:156])
    except _BadHeader:
        return False
    rest = block[:148] + b" " * 8 + block[156:BLOCK]
    unsigned = sum(rest)
    # Old programs added signed bytes.
    return stored == unsigned or stored == unsigned - 256 * sum(byte > 127 for byte in rest)


def _number(stored: bytes) -> int:
    """A number in octal digits, or in base 256 as GNU and star write large ones. Raises _BadHeader."""
    if stored[0] in (0x80, 0xFF):
        return int.from_bytes(stored[1:], "big") if stored[0] == 0x80 else -1
    digits = stored.replace(b"\0", b" ").strip().partition(b" ")[0]
    if digits.strip(b"01234567"):
        raise _BadHeader(f"{stored!r} is no number")
    return int(digits or b"0", 8)


def _pax(content: bytes, given: _Extended) -> _Extended:
    """The records ``LENGTH KEY=VALUE`` of a pax header. Raises _BadHeader."""
    path, size, sparse = given.path, given.size, given.sparse
    position = 0
    while position < len(content.rstrip(b"\0")):
        space = content.find(b" ", position, position + 20)
        length = content[position:space]
        if space < 0 or not length.isdigit() or not space - position < int(length) <= len(content) - position:
            raise _BadHeader("a record of a pax header has a wrong length")
        key, _, value = content[space + 1 : position + int(length) - 1].partition(b"=")
        position += int(length)
        if key == b"path":
            path = value
        elif key == b"size" and value.isdigit() and len(value) < 20:
            size = int(value)
        elif key.startswith(b"GNU.sparse."):
            sparse = True
    return _Extended(path, size, sparse)


def _pass_to_header(source: Inflated) -> int:
    """Pass the blocks before the next header; return their bytes."""
    start = source.position
    while block := source.peek(BLOCK):
        if block[257:262] == _USTAR and len(block) == BLOCK and _checksum_fits(block):
            break
        source.read(BLOCK)
    return source.position - start


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
