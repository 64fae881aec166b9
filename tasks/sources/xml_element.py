"""Parses one element of a dump with expat, which expands nothing here, and judges what stands around elements."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from xml.parsers import expat

# The elements of a page are four levels deep, those of rows one.
_MOST_LEVELS = 16
_SPACE = b" \t\r\n"
_REFERENCE = re.compile(rb"&#(?:x([0-9A-Fa-f]{1,9})|([0-9]{1,9}));")


class BrokenDump(StrEnum):
    """The fault of a dump in XML, or of one of its items."""

    not_a_dump = "not_a_dump"
    truncated = "truncated"
    not_utf8 = "not_utf8"
    broken_xml = "broken_xml"
    document_type = "document_type"
    too_large = "too_large"


class XmlFault(Exception):
    """An element cannot be parsed; `position` is where in it."""

    def __init__(self, reason: BrokenDump, detail: str, position: int) -> None:
        super().__init__(detail)
        self.reason, self.position = reason, position


def parse_element(
    data: bytes,
    encoding: str | None,
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None] | None = None,
    text: Callable[[str], None] | None = None,
) -> None:
    """Give the start tags, end tags and text of an element to the handlers. None is UTF-8.

    A document type, which could define entities, is refused, and so is a reference to an entity. Raises XmlFault.
    """
    try:
        parser = expat.ParserCreate(encoding or "utf-8")
        parser.buffer_text = True
        levels = 0

        def started(name: str, attributes: dict[str, str]) -> None:
            nonlocal levels
            levels += 1
            if levels > _MOST_LEVELS:
                raise XmlFault(BrokenDump.broken_xml, f"more than {_MOST_LEVELS} levels", parser.CurrentByteIndex)
            start(name, attributes)

        def ended(name: str) -> None:
            nonlocal levels
            levels -= 1
            if end is not None:
                end(name)

        def refused(*_: object) -> None:
            raise XmlFault(BrokenDump.document_type, "a document type inside an item", parser.CurrentByteIndex)

        parser.StartElementHandler, parser.EndElementHandler = started, ended
        parser.CharacterDataHandler = text
        parser.StartDoctypeDeclHandler = refused
        parser.Parse(data, True)
    except expat.ExpatError as error:
        position = parser.ErrorByteIndex
        raise _fault(data, encoding, str(error), position) from None
    except (LookupError, ValueError) as error:  # an encoding that Python or expat does not know
        raise XmlFault(BrokenDump.broken_xml, f"encoding {encoding}: {error}", 0) from None


def attributes_of(row: bytes, encoding: str | None) -> dict[str, str]:
    """The attributes of an element like ``<row A="b" />``. Raises XmlFault.

    Some dumps refer to characters that XML forbids (``&#x1F;``): these are left out.
    """
    found: list[dict[str, str]] = []
    stripped = row.rstrip(_SPACE)
    closed = stripped if stripped.endswith(b"/>") else stripped + b"</row>"
    try:
        parse_element(closed, encoding, lambda name, attributes: found.append(attributes))
    except XmlFault:
        allowed = _REFERENCE.sub(lambda reference: reference[0] if _is_character(reference) else b"", closed)
        if allowed == closed:
            raise
        parse_element(allowed, encoding, lambda name, attributes: found.append(attributes))
    return found[-1]


def _is_character(reference: re.Match[bytes]) -> bool:
    """Whether XML allows the character (XML 1.0 section 2.2)."""
    number = int(reference[2], 10) if reference[2] else int(reference[1], 16)
    return number in (9, 10, 13) or 0x20 <= number < 0xD800 or 0xE000 <= number < 0xFFFE or 0xFFFF < number <= 0x10FFFF


def stray(data: bytes, root: bytes) -> int | None:
    """Where, in what stands around items, something is that is neither white space nor a known part of a dump.

    Those are the XML declaration, comments, tags of the root and end tags of rows, and ``siteinfo`` and ``logitem``.
    """
    position = 0
    known = {
        b"<?": b"?>",
        b"<!--": b"-->",
        b"<siteinfo": b"</siteinfo>",
        b"<logitem": b"</logitem>",
        b"<" + root: b">",
        b"</" + root: b">",
        b"</row": b">",
    }
    while position < len(data):
        if data[position] in _SPACE:
            position += 1
            continue
        ending = next((ending for beginning, ending in known.items() if data.startswith(beginning, position)), None)
        end = -1 if ending is None else data.find(ending, position)
        if ending is None or end < 0:
            return position
        position = end + len(ending)
    return None


def _fault(data: bytes, encoding: str | None, detail: str, position: int) -> XmlFault:
    if encoding is None:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            return XmlFault(BrokenDump.not_utf8, f"{error.reason} at byte {error.start} of the item", error.start)
    return XmlFault(BrokenDump.broken_xml, detail, max(position, 0))
