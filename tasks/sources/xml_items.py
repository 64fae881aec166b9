"""Cuts an XML dump into its items (the pages of a wiki, the rows of a table) without parsing what lies around them.

Each item is then parsed alone, so a broken one costs nothing but itself, and nothing that stands before the first item
(a document type, entities) has an effect. Markup inside items is escaped in these dumps, so the tags of an item occur
nowhere else.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tasks.sources.codecs import StoredFault

# What is held of the text around items: the head of a dump has about 4 KiB.
_MOST_AROUND = 1 << 20
# No tag that is searched for is longer.
_LONGEST_TAG = 16
# A second of work, or less.
BETWEEN_PAUSES = 16 << 20
_UTF_16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be", b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
_DECLARED = re.compile(rb"""\s*<\?xml\s[^<>]*?\bencoding\s*+=\s*+["']([A-Za-z][\w.:-]*+)["']""")


@dataclass(frozen=True, slots=True)
class Item:
    """An item with its tags. `data` is None if it is longer than allowed.

    `whole`: its end tag was found; `last`: the file ends in it.
    """

    offset: int
    size: int
    data: bytes | None = field(repr=False)
    whole: bool = True
    last: bool = False


@dataclass(frozen=True, slots=True)
class Around:
    """What stands before, between or behind items: at most its first MiB. `last`: the file ends behind it."""

    offset: int
    size: int
    data: bytes = field(repr=False)
    last: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Some megabytes were read since the last one."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The file is damaged; `size` bytes of an unfinished item lie before that. What follows may begin anywhere."""

    size: int
    fault: StoredFault


@dataclass(frozen=True, slots=True)
class Tags:
    """The patterns that begin and end an item. `end` ends behind its match, unless that has the group ``next``."""

    start: re.Pattern[bytes]
    end: re.Pattern[bytes]


PAGES = Tags(re.compile(rb"<page[\s>]"), re.compile(rb"</page>|(?P<next><page[\s>])"))
# A value of an attribute has no "<" (XML 1.0 section 2.3), so a row ends before the next one.
ROWS = Tags(re.compile(rb"<row[\s/>]"), re.compile(rb"(?P<next><)"))


def read_items(
    pieces: Iterable[bytes | StoredFault], tags: Tags, longest: int
) -> Iterator[Item | Around | Pause | Cut]:
    """The items of a dump and what stands around them, in order; each byte is searched once.

    Offsets are those in the decompressed text, in UTF-8 where the dump is UTF-16. At most `longest` bytes of an item
    are held, and a MiB of what stands around it.
    """
    cutter = _Cutter(tags, longest)
    read = 0
    whole = True
    for piece in _in_bytes(pieces):
        if isinstance(piece, StoredFault):
            yield Cut(cutter.forget(), piece)
            whole = False
            continue
        whole = True
        yield from cutter.feed(piece)
        read += len(piece)
        if read >= BETWEEN_PAUSES:
            read = 0
            yield Pause()
    if whole:
        yield from cutter.finish()


def declared_encoding(prologue: bytes) -> str | None:
    """The encoding that the XML declaration at the start of a dump names, unless that is UTF-8 or UTF-16 in UTF-8."""
    found = _DECLARED.match(prologue)
    name = found[1].decode("ascii").lower() if found else "utf-8"
    return None if name.startswith(("utf-8", "utf8", "utf-16", "utf16")) else name


def _in_bytes(pieces: Iterable[bytes | StoredFault]) -> Iterator[bytes | StoredFault]:
    """The pieces, from UTF-16 to UTF-8: in it, a tag is not the bytes that are searched for."""
    decoder: codecs.IncrementalDecoder | None = None
    first = True
    for piece in pieces:
        if isinstance(piece, StoredFault):
            yield piece
            continue
        if first and piece:
            piece = piece.removeprefix(codecs.BOM_UTF8)
            encoding = _UTF_16.get(piece[:2])
            piece = piece[2:] if piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else piece
            decoder = codecs.getincrementaldecoder(encoding)("surrogatepass") if encoding else None
            first = False
        yield piece if decoder is None else decoder.decode(piece).encode("utf-8", "surrogatepass")


class _Cutter:
    """Holds the bytes of one item, or of what stands before it."""

    def __init__(self, tags: Tags, longest: int) -> None:
        self._tags, self._longest = tags, longest
        self._held = bytearray()
        self._offset = 0  # of the first held byte
        self._around = bytearray()
        self._skipped = 0  # bytes of the item, or around it, that are no longer held
        self._inside = False
        self._from = 0

    def forget(self) -> int:
        """Forget what is held; returns the bytes of the item that has begun."""
        size = self._skipped + len(self._held)
        unfinished = size if self._inside else 0
        self._around.clear()
        self._pass(len(self._held))
        return unfinished

    def feed(self, piece: bytes) -> Iterator[Item | Around]:
        self._held += piece
        while True:
            found = (self._tags.end if self._inside else self._tags.start).search(self._held, self._from)
            if found is None:
                self._let_go()
                return
            if self._inside:
                following = found.groupdict().get("next") is not None
                # Of pages, the next one begins before the end of this one. Of rows, that is their end.
                whole = not following or self._tags is ROWS
                yield self._item(found.start() if following else found.end(), whole)
            else:
                yield from self._gap(found.start())
                self._inside, self._from = True, found.end() - found.start()

    def finish(self) -> Iterator[Item | Around]:
        if self._inside:
            whole = self._tags is ROWS and self._held.rstrip().endswith(b">")
            yield self._item(len(self._held), whole, last=True)
        yield from self._gap(len(self._held), last=True)

    def _let_go(self) -> None:
        """Of an item that is too long, and of what stands around items, the end may be a part of a tag."""
        keep = max(len(self._held) - _LONGEST_TAG, 0)
        if not self._inside:
            self._around += self._held[: min(keep, _MOST_AROUND - len(self._around))]
        elif len(self._held) <= self._longest + _LONGEST_TAG and not self._skipped:
            self._from = max(keep, self._from)
            return
        del self._held[:keep]
        self._skipped += keep
        self._from = 0

    def _item(self, end: int, whole: bool, last: bool = False) -> Item:
        size = self._skipped + end
        fits = not self._skipped and end <= self._longest
        item = Item(self._offset, size, bytes(self._held[:end]) if fits else None, whole, last)
        self._pass(end)
        return item

    def _gap(self, end: int, last: bool = False) -> Iterator[Around]:
        self._around += self._held[: min(end, _MOST_AROUND - len(self._around))]
        size = self._skipped + end
        if size:
            yield Around(self._offset, size, bytes(self._around), last)
        self._around.clear()
        self._pass(end)

    def _pass(self, end: int) -> None:
        del self._held[:end]
        self._offset += self._skipped + end
        self._skipped = self._from = 0
        self._inside = False
