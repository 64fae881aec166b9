"""Reads the serialisation of a parsed page, as Lexbor writes it, into elements and blocks of text, in one pass.

In a serialisation every element is closed, every value is quoted, and only `&amp;`, `&lt;`, `&gt;`, `&quot;` and
`&nbsp;` are escapes (WHATWG HTML section 13.3), so that no parser is needed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from infra.compiled import njit
from tasks.html.vocabulary import (
    ELEMENT,
    FNV,
    FNV_PRIME,
    IS_BLOCK,
    IS_SKIPPED,
    IS_VOID,
    element_number,
    fnv1a,
    meanings_of,
)

# Columns of `blocks`. A block begins in an element; its text is `text[start:end]`. The others count characters, East
# Asian ones as two: all of them, those in links, those in bold, stops and commas, digits, and capitals.
ELEMENT_OF, START, END, WIDTH, IN_LINKS, IN_BOLD, STOPS, DIGITS, CAPITALS = range(9)
COLUMNS = 9
# Bits of `flags` of an element.
HIDDEN, HIDDEN_FROM_READERS = 1, 2

_PRE, _A, _BR, _B, _STRONG = (ELEMENT[name] for name in ("pre", "a", "br", "b", "strong"))
_LISTING, _XMP, _PLAINTEXT = (ELEMENT[name] for name in ("listing", "xmp", "plaintext"))
_SCRIPT, _STYLE, _TEMPLATE, _WBR = (ELEMENT[name] for name in ("script", "style", "template", "wbr"))
_CLASS, _ID, _ROLE, _ITEMPROP, _TEST, _COMPONENT, _STYLING, _HIDDEN, _ARIA_HIDDEN = (
    np.uint64(fnv1a(name))
    for name in ("class", "id", "role", "itemprop", "data-testid", "data-component", "style", "hidden", "aria-hidden")
)
_UNSHOWN = np.array([fnv1a("display:none"), fnv1a("visibility:hidden")], np.uint64)
_NBSP, _AMP, _LT, _GT, _QUOT = 6, 5, 4, 4, 6  # lengths of the escapes


class Scan(NamedTuple):
    """Elements and blocks in document order. Arrays with a row an element: `parents` (-1 for the first), `depths`,
    `elements` (numbers of names), `meanings` (bits of words of class, id, role and item property) and `flags`; `blocks`
    has a row a block of text; `text` is the UTF-8 of the blocks.
    """

    parents: npt.NDArray[np.int32]
    depths: npt.NDArray[np.int32]
    elements: npt.NDArray[np.int32]
    meanings: npt.NDArray[np.uint64]
    flags: npt.NDArray[np.uint8]
    blocks: npt.NDArray[np.int32]
    text: npt.NDArray[np.uint8]


def scan(serialised: str) -> Scan:
    """Elements and blocks of text of a page whose raw texts (scripts and such) are empty or escaped.

    A block is the text between two places at which a browser breaks the line. White space is one space, and none at the
    ends, but for texts of `pre`. What is in scripts, styles, controls, frames and media is in no block.
    """
    source = np.frombuffer(serialised.encode(), np.uint8)
    return Scan(*_scan(source))


@njit(cache=True)
def _scan(source: npt.NDArray[np.uint8]) -> Any:
    size = len(source)
    parents, depths, elements = np.empty(1024, np.int32), np.empty(1024, np.int32), np.empty(1024, np.int32)
    meanings, flags = np.empty(1024, np.uint64), np.empty(1024, np.uint8)
    blocks = np.zeros((512, COLUMNS), np.int32)
    text = np.empty(size + 1, np.uint8)
    open_of_name = np.zeros(len(IS_BLOCK), np.int32)
    count = found = length = start = 0
    current, skipped, links, bold, pre = -1, 0, 0, 0, 0
    space = False
    position = 0
    while position < size:
        if source[position] != 60:  # a text
            if skipped > 0 or current < 0:
                while position < size and source[position] != 60:
                    position += 1
                continue
            block = blocks[found]
            if block[WIDTH] == 0:
                block[ELEMENT_OF] = current
            position, length, space, width, stops, digits, capitals = _copy(
                source, position, text, start, length, space, pre > 0
            )
            block[WIDTH] += width
            block[IN_LINKS] += width if links > 0 else 0
            block[IN_BOLD] += width if bold > 0 else 0
            block[STOPS] += stops
            block[DIGITS] += digits
            block[CAPITALS] += capitals
            continue
        if position + 1 < size and source[position + 1] in (33, 63):  # ! and ?
            position = _declaration_end(source, position)
            continue
        closing = position + 1 < size and source[position + 1] == 47
        position += 2 if closing else 1
        name = FNV
        hyphen = False
        while position < size and source[position] not in (32, 47, 62):
            name = (name ^ np.uint64(source[position])) * FNV_PRIME
            hyphen = hyphen or source[position] == 45
            position += 1
        element = element_number(name)
        meaning, flag = np.uint64(0), np.uint8(0)
        if not closing:
            position, meaning, flag = _attributes(source, position)
        position += 1  # the >
        if IS_BLOCK[element] and skipped == 0 and not (pre > 0 and element == _BR):
            if blocks[found, WIDTH] > 0:
                while text[length - 1] <= 32:
                    length -= 1
                blocks[found, START], blocks[found, END] = start, length
                found += 1
                if found == len(blocks):
                    blocks = np.concatenate((blocks, np.zeros_like(blocks)))
            else:
                length = start
            start, space = length, False
        elif (IS_SKIPPED[element] and element not in (_SCRIPT, _STYLE, _TEMPLATE)) or (element == 0 and hyphen):
            # Custom elements, whose names have a hyphen, stand in sentences or beside each other.
            space = True
        elif element == _BR and not closing:
            text[length] = 10
            length += 1
        if closing:
            if open_of_name[element] > 0:  # otherwise it is of an element without an end tag
                while True:
                    last = elements[current]
                    open_of_name[last] -= 1
                    skipped -= IS_SKIPPED[last]
                    links -= last == _A
                    bold -= last in (_B, _STRONG)
                    pre -= last in (_PRE, _LISTING, _XMP, _PLAINTEXT)
                    current = parents[current]
                    if last == element:
                        break
            continue
        if count == len(parents):
            parents, depths = _doubled(parents), _doubled(depths)
            elements, meanings, flags = _doubled(elements), _doubled(meanings), _doubled(flags)
        parents[count], elements[count], meanings[count], flags[count] = current, element, meaning, flag
        depths[count] = depths[current] + 1 if current >= 0 else 0
        if not IS_VOID[element]:
            current = count
            open_of_name[element] += 1
            skipped += IS_SKIPPED[element]
            links += element == _A
            bold += element in (_B, _STRONG)
            pre += element in (_PRE, _LISTING, _XMP, _PLAINTEXT)
        count += 1
    if blocks[found, WIDTH] > 0:
        while text[length - 1] <= 32:
            length -= 1
        blocks[found, START], blocks[found, END] = start, length
        found += 1
    return (
        *(parents[:count], depths[:count], elements[:count], meanings[:count], flags[:count]),
        *(blocks[:found], text[:length]),
    )


@njit(cache=True)
def _doubled(values: Any) -> Any:
    return np.concatenate((values, np.empty_like(values)))


@njit(cache=True)
def _character(source: npt.NDArray[np.uint8], position: int) -> tuple[np.uint8, int]:
    """The byte at a position and its length in the source, or what an escape there stands for."""
    byte = source[position]
    if byte == 38 and position + 1 < len(source):
        kind = source[position + 1]
        if kind == 97:
            return np.uint8(38), _AMP
        if kind == 108:
            return np.uint8(60), _LT
        if kind == 103:
            return np.uint8(62), _GT
        if kind == 110:
            return np.uint8(32), _NBSP
        if kind == 113:
            return np.uint8(34), _QUOT
    return byte, 1


@njit(cache=True)
def _copy(
    source: npt.NDArray[np.uint8],
    position: int,
    text: npt.NDArray[np.uint8],
    start: int,
    length: int,
    space: bool,
    verbatim: bool,
) -> tuple[int, int, bool, int, int, int, int]:
    """Copy a text up to the next markup behind `text[start:length]`.

    Returns the position in the source, the length of the text, whether a space is due, and counts of what was copied.
    """
    size = len(source)
    width = stops = digits = capitals = 0
    while position < size and source[position] != 60:
        byte, step = _character(source, position)
        position += step
        if byte <= 32 or byte == 127:
            if verbatim and byte in (9, 10, 32) and (length > start or byte != 10):
                text[length] = byte
                length += 1
            elif byte == 32 or 9 <= byte <= 13:
                space = True
            continue
        ideographic = byte == 0xE3 and position + 1 < size and source[position] == 0x80
        if ideographic and source[position + 1] == 0x80 and not verbatim:  # U+3000, the ideographic space
            position += 2
            space = True
            continue
        if space and length > start and not verbatim:
            text[length] = 32
            length += 1
        space = False
        text[length] = byte
        length += 1
        if byte & 0xC0 == 0x80:
            continue
        width += 1
        if byte < 0x80:
            if 97 <= byte <= 122:
                continue
            stops += int(byte in (33, 44, 46, 59, 63))
            digits += int(48 <= byte <= 57)
            capitals += int(65 <= byte <= 90)
        elif 0xE3 <= byte <= 0xED:
            width += 1
            # U+3001 and U+3002, ideographic comma and full stop
            if ideographic:
                stops += source[position + 1] in (0x81, 0x82)
        elif byte == 0xEF and position + 1 < size and source[position] == 0xBC:
            width += 1
            stops += source[position + 1] in (0x81, 0x8C, 0x9F)  # full-width ! , ?
    return position, length, space, width, stops, digits, capitals


@njit(cache=True)
def _declaration_end(source: npt.NDArray[np.uint8], position: int) -> int:
    """Where a comment, a document type or a processing instruction ends that begins at `position`."""
    size = len(source)
    if position + 3 < size and source[position + 1] == 33 and source[position + 2] == source[position + 3] == 45:
        position += 4
        while position + 2 < size and not (
            source[position] == 45 and source[position + 1] == 45 and source[position + 2] == 62
        ):
            position += 1
        return position + 3
    while position < size and source[position] != 62:
        position += 1
    return position + 1


@njit(cache=True)
def _attributes(source: npt.NDArray[np.uint8], position: int) -> tuple[int, np.uint64, np.uint8]:
    """Where the attributes end, which meanings their words have, and what they say of visibility."""
    size = len(source)
    meanings, flags = np.uint64(0), np.uint8(0)
    while position < size and source[position] != 62:
        if source[position] == 32 or source[position] == 47:
            position += 1
            continue
        name = FNV
        first = True  # a name may begin with =
        while position < size and (first or source[position] != 61) and source[position] not in (32, 62):
            name = (name ^ np.uint64(source[position])) * FNV_PRIME
            first = False
            position += 1
        start = end = position
        if position + 1 < size and source[position] == 61 and source[position + 1] == 34:
            start = end = position + 2
            while end < size and source[end] != 34:
                end += 1
            position = end + 1
        if name in (_CLASS, _ID, _ROLE, _ITEMPROP, _TEST, _COMPONENT):
            meanings |= meanings_of(source, start, end)
        elif name == _HIDDEN or (name == _STYLING and _is_unshown(source, start, end)):
            flags |= np.uint8(HIDDEN)
        elif name == _ARIA_HIDDEN and end - start == 4:  # true
            flags |= np.uint8(HIDDEN_FROM_READERS)
    return position, meanings, flags


@njit(cache=True)
def _is_unshown(source: npt.NDArray[np.uint8], start: int, end: int) -> bool:
    """Whether a style has a declaration that hides the element."""
    declaration = FNV
    for position in range(start, end + 1):
        byte = source[position] if position < end else np.uint8(59)
        if byte == 59 or byte == 33:  # ; or !important
            if declaration == _UNSHOWN[0] or declaration == _UNSHOWN[1]:
                return True
            declaration = FNV
        elif byte > 32:
            small = byte | 32 if 65 <= byte <= 90 else byte
            declaration = (declaration ^ np.uint64(small)) * FNV_PRIME
    return False
