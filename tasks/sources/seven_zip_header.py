"""The header of a 7z archive: where its folders lie, how they are compressed, and the names of its members.

See 7-Zip's `DOC/7zFormat.txt`. Every count in a header is compared with the bytes that are left in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_END, _HEADER, _ARCHIVE, _ADDITIONAL, _MAIN, _FILES, _PACK, _UNPACK, _SUBSTREAMS = range(9)
_SIZE, _CRC, _FOLDER, _CODERS_SIZE, _NUMBER_OF_STREAMS, _EMPTY_STREAM = range(9, 15)
_NAMES, _ENCODED = 0x11, 0x17
_MOST_CODERS = 4


class HeaderError(Exception):
    """A header is not as the format allows, or has something that is not read."""


@dataclass(frozen=True, slots=True)
class Coder:
    """A method and its properties."""

    method: bytes
    properties: bytes


@dataclass(slots=True)
class Folder:
    """What is compressed as one stream. `coders` in the order of decoding; `members` are sizes and checksums."""

    coders: list[Coder]
    offset: int = 0
    stored: int = 0
    size: int = 0
    checksum: int | None = None
    members: list[tuple[int, int | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Header:
    """The folders of an archive, and the names of the members that have content, in order."""

    folders: list[Folder] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def read_streams(data: bytes) -> list[Folder] | None:
    """The folders of a header that is itself compressed; None if it is not. Raises HeaderError."""
    reader = _Reader(data)
    return _streams(reader) if reader.number() == _ENCODED else None


def read_header(data: bytes) -> Header:
    """Raises HeaderError."""
    reader = _Reader(data)
    if reader.number() != _HEADER:
        raise HeaderError("no header where it should be")
    folders: list[Folder] = []
    names: list[str] = []
    while (kind := reader.number()) != _END:
        if kind == _MAIN:
            folders = _streams(reader)
        elif kind == _FILES:
            names = _files(reader)
        elif kind == _ARCHIVE:
            while reader.number() != _END:
                reader.bytes(reader.number())
        else:
            raise HeaderError(f"a part of kind {kind}")
    return Header(folders, names)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def bytes(self, size: int) -> bytes:
        if size > self.left:
            raise HeaderError("the header ends early")
        self._at += size
        return self._data[self._at - size : self._at]

    def byte(self) -> int:
        return self.bytes(1)[0]

    def number(self) -> int:
        """As many bytes follow the first as it has leading ones; its other bits are the highest of the number."""
        first, high, follow = self.byte(), 0x7F, 0
        while follow < 8 and first & (0x80 >> follow):
            follow += 1
            high >>= 1
        return int.from_bytes(self.bytes(follow), "little") | (first & high) << 8 * follow

    def count(self) -> int:
        """The number of things that follow, each of at least a bit."""
        number = self.number()
        if number > 8 * self.left + 8:
            raise HeaderError(f"{number} things in {self.left} bytes")
        return number

    def bits(self, count: int) -> list[bool]:
        data = self.bytes((count + 7) // 8)
        return [bool(data[index // 8] & (0x80 >> index % 8)) for index in range(count)]

    def checksums(self, count: int) -> list[int | None]:
        defined = [True] * count if self.byte() else self.bits(count)
        return [int.from_bytes(self.bytes(4), "little") if known else None for known in defined]

    def skip_to_end(self, kind: int, count: int) -> None:
        """Checksums of stored data may stand before the end of a part."""
        if kind == _CRC:
            self.checksums(count)
            kind = self.number()
        if kind != _END:
            raise HeaderError(f"a part of kind {kind} inside another")


def _streams(reader: _Reader) -> list[Folder]:
    folders: list[Folder] = []
    stored: list[int] = []
    position = 0
    divided = False
    while (kind := reader.number()) != _END:
        if kind == _PACK:
            position, stored = _packed(reader)
        elif kind == _UNPACK:
            folders = _folders(reader)
        elif kind == _SUBSTREAMS:
            _members(reader, folders)
            divided = True
        else:
            raise HeaderError(f"a part of kind {kind} among the streams")
    if len(stored) != len(folders):
        raise HeaderError(f"{len(stored)} streams for {len(folders)} folders: methods with several are not read")
    for folder, size in zip(folders, stored, strict=True):
        folder.offset, folder.stored = position, size
        position += size
        if not divided:
            folder.members = [(folder.size, folder.checksum)]
    return folders


def _packed(reader: _Reader) -> tuple[int, list[int]]:
    position, count = reader.number(), reader.count()
    sizes: list[int] = []
    kind = reader.number()
    if kind == _SIZE:
        sizes = [reader.number() for _ in range(count)]
        kind = reader.number()
    reader.skip_to_end(kind, count)
    return position, sizes


def _folders(reader: _Reader) -> list[Folder]:
    if reader.number() != _FOLDER:
        raise HeaderError("no folders where they should be")
    count = reader.count()
    if reader.byte():
        raise HeaderError("folders outside the header")
    orders = [_folder(reader) for _ in range(count)]
    if reader.number() != _CODERS_SIZE:
        raise HeaderError("no sizes of folders")
    folders = []
    for coders, order in orders:
        sizes = [reader.number() for _ in coders]
        # The last coder of the chain gives the content.
        folders.append(Folder([coders[index] for index in order], size=sizes[order[-1]]))
    kind = reader.number()
    if kind == _CRC:
        for folder, checksum in zip(folders, reader.checksums(count), strict=True):
            folder.checksum = checksum
        kind = reader.number()
    reader.skip_to_end(kind, 0)
    return folders


def _folder(reader: _Reader) -> tuple[list[Coder], list[int]]:
    """The coders of a folder, and the order in which they decode: a chain, each with one stream in and one out."""
    count = reader.number()
    if not 0 < count <= _MOST_CODERS:
        raise HeaderError(f"{count} coders")
    coders = []
    for _ in range(count):
        flags = reader.byte()
        method = reader.bytes(flags & 0x0F)
        if flags & 0x10 and (reader.number(), reader.number()) != (1, 1):
            raise HeaderError(f"method {method.hex()}, which has several streams")
        coders.append(Coder(method, reader.bytes(reader.number()) if flags & 0x20 else b""))
    follows = {}
    for _ in range(count - 1):
        reads, gives = reader.number(), reader.number()
        follows[gives] = reads
    order = [index for index in range(count) if index not in follows.values()][:1]
    while order and order[-1] in follows and len(order) < count:
        order.append(follows[order[-1]])
    if len(order) != count or sorted(order) != list(range(count)):
        raise HeaderError("coders that are no chain")
    return coders, order


def _members(reader: _Reader, folders: list[Folder]) -> None:
    counts = [1] * len(folders)
    kind = reader.number()
    if kind == _NUMBER_OF_STREAMS:
        counts = [reader.count() for _ in folders]
        kind = reader.number()
    sizes = []
    for folder, count in zip(folders, counts, strict=True):
        given = [reader.number() for _ in range(count - 1)] if kind == _SIZE else []
        if count > 1 and not given:
            raise HeaderError("members without sizes")
        rest = folder.size - sum(given)
        if rest < 0:
            raise HeaderError("members that are larger than their folder")
        sizes.append([*given, rest] if count else [])
    if kind == _SIZE:
        kind = reader.number()
    known = [len(found) == 1 and folder.checksum is not None for folder, found in zip(folders, sizes, strict=True)]
    unknown = sum(len(found) for found, checksum in zip(sizes, known, strict=True) if not checksum)
    checksums = iter(reader.checksums(unknown) if kind == _CRC else [])
    for folder, found, checksum in zip(folders, sizes, known, strict=True):
        folder.members = [(size, folder.checksum if checksum else next(checksums, None)) for size in found]
    reader.skip_to_end(reader.number() if kind == _CRC else kind, 0)


def _files(reader: _Reader) -> list[str]:
    """The names of the files that have content."""
    count = reader.count()
    names: list[str] = []
    empty = [False] * count
    while (kind := reader.number()) != _END:
        part = _Reader(reader.bytes(reader.number()))
        if kind == _EMPTY_STREAM:
            empty = part.bits(count)
        elif kind == _NAMES:
            if part.byte():
                raise HeaderError("names outside the header")
            names = part.bytes(part.left).decode("utf-16-le", "replace").split("\0")[:-1]
    if len(names) != count:
        raise HeaderError(f"{len(names)} names for {count} files")
    return [name for name, without in zip(names, empty, strict=True) if not without]
