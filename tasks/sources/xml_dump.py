"""Reads the items of an XML dump and accounts for everything around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from infra.outcomes import Failed, Underway
from tasks.sources.codecs import StoredFault
from tasks.sources.xml_element import BrokenDump, stray
from tasks.sources.xml_items import Around, Cut, Item, Pause, Tags, declared_encoding, read_items


class Dump:
    """One dump. `head` is what stands before its first item, and `encoding` that of its items (None: UTF-8)."""

    def __init__(self, name: str, root: str, tags: Tags, longest: int) -> None:
        self._name, self._root, self._tags, self._longest = name, root.encode(), tags, longest
        self._begun = self._ended = False
        self.head = ""
        self.encoding: str | None = None

    def read(self, pieces: Iterable[bytes | StoredFault]) -> Iterator[Item | Failed | Underway]:
        """The items that are whole, in order, and a failure for each fault."""
        end = items = 0
        first: Around | None = None
        damaged = False  # just before
        for found in read_items(pieces, self._tags, self._longest):
            match found:
                case Pause():
                    yield Underway()
                case Cut(size, fault):
                    yield Failed(fault.reason, size, f"{self._name}: {fault.detail}", fault.offset)
                    damaged = True
                case Around() if damaged:
                    # The rest of what the damage cut.
                    end, damaged = found.offset + found.size, False
                    self._ended |= b"</" + self._root in found.data
                case Around() if not items and first is None:
                    first = found
                    self._read_head(found.data)
                    end = found.size
                case Around():
                    yield from self._stray(found)
                    end = found.offset + found.size
                case Item():
                    if first is not None and not items:
                        yield from self._stray(first)
                    items += 1
                    damaged = False
                    end = found.offset + found.size
                    yield self._checked(found)
        if damaged:
            return  # that the file ends there is told
        if items or self._begun:
            yield from self._ending(end, None if items else first)
        else:
            root = self._root.decode()
            detail = f"{self._name}: there is neither <{root}> nor an item of such a dump"
            yield Failed(BrokenDump.not_a_dump, end, detail, 0)

    def _read_head(self, data: bytes) -> None:
        self.encoding = declared_encoding(data)
        self.head = data.decode(self.encoding or "utf-8", "replace")
        self._begun = b"<" + self._root in data
        self._ended = b"</" + self._root in data

    def _checked(self, item: Item) -> Item | Failed:
        where = f"{self._name}, byte {item.offset}"
        if item.data is None:
            detail = f"{where}: longer than {self._longest} bytes"
            return Failed(BrokenDump.too_large, item.size, detail, item.offset)
        if item.whole:
            return item
        self._ended |= item.last  # that the file is cut is told once
        reason = BrokenDump.truncated if item.last else BrokenDump.broken_xml
        return Failed(reason, item.size, f"{where}: the end tag is missing", item.offset)

    def _stray(self, around: Around) -> Iterator[Failed]:
        data = around.data
        self._ended |= b"</" + self._root in data
        where = f"{self._name}, byte {around.offset}"
        place = stray(data, self._root) if around.size == len(data) else 0
        if place is None or (around.last and data[place:].startswith(b"<") and b">" not in data[place:]):
            return  # a tag that is cut by the end of the file, which is told by itself
        offset = around.offset + place
        if b"<!DOCTYPE" in data:
            detail = f"{where}: a document type, whose entities are not read"
            yield Failed(BrokenDump.document_type, around.size, detail, offset)
        else:
            yield Failed(BrokenDump.broken_xml, around.size, f"{where}: text that belongs to no item", offset)

    def _ending(self, end: int, head: Around | None) -> Iterator[Failed]:
        if head is not None:
            yield from self._stray(head)
        if self._begun and not self._ended:
            detail = f"{self._name}: the file ends without </{self._root.decode()}>"
            yield Failed(BrokenDump.truncated, 0, detail, end)
