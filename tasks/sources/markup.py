"""Limits on the markup of a page, checked in one pass before a parser sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from infra.compiled import njit

# Of 1,808 real pages, the largest have 12,800 elements, 282 attributes in one tag, 20,000 in all, 51 levels, and 965
# options.
MAX_ELEMENTS = 50_000
_MAX_ATTRIBUTES = 1_000
_MAX_ATTRIBUTES_OF_PAGE = 100_000
_MAX_NESTED = 5_000
# Bytes of a tag from which its attributes are counted: shorter tags hold at most half as many.
_COUNTED_FROM = 200
_REOPENED_PER_ELEMENT = 10
_SEEN_BY_OPTIONS_PER_ELEMENT = 500
_ENDS_PER_ELEMENT = 2
_COUNTED = (
    *("elements", "elements nested in each other", "attributes in one tag", "attributes"),
    *("elements opened again, because they were not closed", "elements that options look through"),
    *("attributes in tags of html and body", "end tags"),
)
# Elements that have no content, or whose end tag is optional.
_OPEN_ENDED = (
    "area base basefont bgsound br body caption col colgroup dd dt embed frame head hr html img input keygen li link"
    " meta optgroup option p param rb rp rt rtc source tbody td tfoot th thead tr track wbr"
)
# A parser opens these again in every block that follows, until they are closed; of equal ones, the last three.
_REOPENED = "a nobr b big code em font i s small strike strong tt u"
_MOST_EQUAL = 3
_CLOSED_BY_NEXT = 2  # the first two: a, nobr
# In these, a parser may read the content of raw elements as markup (WHATWG HTML sections 13.2.6.4.16, 13.2.6.4.20 and
# 13.2.6.5): whether it does depends on its tree.
_PERHAPS_MARKUP = "svg math select frameset"
# In these, a parser reads HTML again, and ignores the end tags of what is around them.
_HTML_AGAIN = "foreignobject desc annotation-xml mi mn mo ms mtext"
_RAW = "script plaintext style textarea title xmp iframe noembed noframes"
_NAMES = " ".join((_OPEN_ENDED, _REOPENED, _PERHAPS_MARKUP, _HTML_AGAIN, _RAW)).split()
_LONGEST = max(map(len, _NAMES))
_TABLE = np.zeros((len(_NAMES), _LONGEST + 1), np.uint8)  # names, and zeros
for _row, _name in enumerate(_NAMES):
    _TABLE[_row, : len(_name)] = np.frombuffer(_name.encode(), np.uint8)
_ENDS = np.cumsum([len(names.split()) for names in (_OPEN_ENDED, _REOPENED, _PERHAPS_MARKUP, _HTML_AGAIN, _RAW)])
_FIRST_REOPENED, _FIRST_PERHAPS, _FIRST_AGAIN, _FIRST_RAW = (int(end) for end in _ENDS[:-1])
_SCRIPT, _PLAINTEXT = _FIRST_RAW, _FIRST_RAW + 1
_OPTION, _HTML, _BODY = (_NAMES.index(name) for name in ("option", "html", "body"))
# By first letter, where to look in the table.
_BY_LETTER = [[n for n, name in enumerate(_NAMES) if ord(name[0]) == letter] for letter in range(97, 123)]
_STARTS = np.cumsum([0, *map(len, _BY_LETTER)])
_NUMBERS = np.array([n for numbers in _BY_LETTER for n in numbers], np.int32)
_SLOTS = 4096


class MarkupLimit(Exception):
    """A page has more markup than a limit allows."""


def check_markup(page: bytes, max_elements: int) -> None:
    """Raise MarkupLimit if a page, in UTF-8, is too much work for a parser.

    Parsers need more than linear time or memory for attributes (quadratic in one element, to which further tags of
    `html` and `body` add theirs), for open elements (searched at every tag), for unclosed formatting elements (opened
    again in every block) and for options (each looks for the selected one among all elements of the list). The limits
    are `max_elements` tags, 2 * `max_elements` end tags, 1,000 attributes in a tag and 100,000 in a page, 5,000
    elements nested in each other, not counting those whose end tag is optional, 10 * `max_elements` elements opened
    again, and 500 * `max_elements` elements before options, counted for each option.
    """
    attributes = (_MAX_ATTRIBUTES, _MAX_ATTRIBUTES_OF_PAGE)
    by_elements = (_REOPENED_PER_ELEMENT * max_elements, _SEEN_BY_OPTIONS_PER_ELEMENT * max_elements)
    limits = (max_elements, _MAX_NESTED, *attributes, *by_elements, _MAX_ATTRIBUTES, _ENDS_PER_ELEMENT * max_elements)
    beyond = _first_beyond(np.frombuffer(page, np.uint8), np.array(limits))
    if beyond >= 0:
        raise MarkupLimit(f"the page has more than {limits[beyond]} {_COUNTED[beyond]}")


@njit(cache=True)
def _first_beyond(page: npt.NDArray[np.uint8], limits: npt.NDArray[np.int64]) -> int:
    """Index of the first limit that is passed; -1 if none is.

    Reads every tag outside of raw texts. A raw text that a parser may read as markup is read as such, too.
    """
    counts = np.zeros(len(limits), np.int64)  # of what _COUNTED names
    formats = _no_formats(min(limits[0], len(page) // 3))
    opened = np.zeros(len(_TABLE), np.int64)
    around, perhaps = 0, 0  # open elements that read HTML again, and that may read raw texts as markup
    position = 0
    size = len(page)
    while True:
        start, position, kind = _next_tag(page, position, size)
        if start < 0:
            return -1
        if kind == 0:
            continue
        closing = kind == 2
        number, beyond = _count_tag(page, start, position, closing, perhaps > 0, counts, limits, formats)
        if beyond >= 0:
            return beyond
        if _FIRST_PERHAPS <= number < _FIRST_RAW:
            again = number >= _FIRST_AGAIN
            change = 0
            if not closing:
                change = 0 if page[position - 1] == 62 and page[position - 2] == 47 else 1
            elif again or around == 0:
                change = -min(opened[number], 1)
            opened[number] += change
            around += change if again else 0
            perhaps += 0 if again else change
        raw_end = position if closing else _raw_end(page, number, position)
        if perhaps > 0:
            while True:
                start, position, kind = _next_tag(page, position, raw_end)
                if start < 0:
                    break
                if kind > 0:
                    _, beyond = _count_tag(page, start, position, kind == 2, True, counts, limits, formats)
                    if beyond >= 0:
                        return beyond
        position = raw_end


@njit(cache=True)
def _is_space(byte: int) -> bool:
    return byte == 32 or byte == 9 or byte == 10 or byte == 12 or byte == 13


@njit(cache=True)
def _is_letter(byte: int) -> bool:
    return 97 <= (byte | 32) <= 122


@njit(cache=True)
def _next_tag(page: Any, position: int, end: int) -> tuple[int, int, int]:
    """Start and end of the next markup before `end`, and what it is: a start tag, 1, an end tag, 2, other, 0.

    The start is -1 if there is none. The rules are those of WHATWG HTML section 13.2.5.
    """
    while position < end:
        if page[position] != 60 or position + 1 >= end:
            position += 1
            continue
        start = position
        byte = page[position + 1]
        if _is_letter(byte):
            return start, _tag_end(page, position + 1, end), 1
        if byte == 47 and position + 2 < end and _is_letter(page[position + 2]):
            return start, _tag_end(page, position + 2, end), 2
        if byte == 33 and position + 3 < end and page[position + 2] == 45 and page[position + 3] == 45:
            return start, _comment_end(page, position + 4, end), 0
        if byte == 33 or byte == 63 or byte == 47:
            while position < end and page[position] != 62:
                position += 1
            return start, position, 0
        position += 1
    return -1, end, 0


@njit(cache=True)
def _comment_end(page: Any, position: int, end: int) -> int:
    """Where a comment ends whose text begins at `position`."""
    if position < end and page[position] == 62:
        return position + 1
    if position + 1 < end and page[position] == 45 and page[position + 1] == 62:
        return position + 2
    while position + 2 < end:
        if page[position] == 45 and page[position + 1] == 45:
            if page[position + 2] == 62:
                return position + 3
            if page[position + 2] == 33 and position + 3 < end and page[position + 3] == 62:
                return position + 4
        position += 1
    return end


@njit(cache=True)
def _name_end(page: Any, position: int, end: int) -> int:
    while position < end and not (_is_space(page[position]) or page[position] == 47 or page[position] == 62):
        position += 1
    return position


@njit(cache=True)
def _tag_end(page: Any, position: int, end: int) -> int:
    """Where a tag ends whose name begins at `position`."""
    position = _name_end(page, position, end)
    while True:
        found, position = _attribute(page, position, end)
        if not found:
            break
    return position + 1 if position < end else end


@njit(cache=True)
def _attribute(page: Any, position: int, end: int) -> tuple[bool, int]:
    """Whether an attribute comes next, and where it ends; without one, where the spaces end."""
    while position < end and (_is_space(page[position]) or page[position] == 47):
        position += 1
    if position >= end or page[position] == 62:
        return False, position
    position += 1  # a name may begin with =
    while position < end and not (
        _is_space(page[position]) or page[position] == 47 or page[position] == 62 or page[position] == 61
    ):
        position += 1
    behind = position
    while behind < end and _is_space(page[behind]):
        behind += 1
    if behind >= end or page[behind] != 61:
        return True, position
    position = behind + 1
    while position < end and _is_space(page[position]):
        position += 1
    if position < end and (page[position] == 34 or page[position] == 39):
        quote = page[position]
        position += 1
        while position < end and page[position] != quote:
            position += 1
        return True, min(position + 1, end)
    while position < end and not (_is_space(page[position]) or page[position] == 62):
        position += 1
    return True, position


@njit(cache=True)
def _number(page: Any, start: int, end: int) -> int:
    """The number of the name, in any case; -1 for names that no limit knows."""
    size = end - start
    if size > _LONGEST:
        return -1
    letter = (page[start] | 32) - 97
    for place in range(_STARTS[letter], _STARTS[letter + 1]):
        number = _NUMBERS[place]
        if _TABLE[number, size] == 0 and _same_name(page, start, size, number):
            return int(number)
    return -1


@njit(cache=True)
def _same_name(page: Any, start: int, size: int, number: int) -> bool:
    for offset in range(size):
        byte = page[start + offset]
        if (byte | 32 if 65 <= byte <= 90 else byte) != _TABLE[number, offset]:
            return False
    return True


@njit(cache=True)
def _count_tag(
    page: Any, start: int, end: int, closing: bool, foreign: bool, counts: Any, limits: Any, formats: Any
) -> tuple[int, int]:
    """Count a tag; returns the number of its name, and the first limit that it passes, or -1.

    A slash at the end of a start tag closes elements that may be `foreign` only; HTML ignores it.
    """
    name = start + (2 if closing else 1)
    inside = _name_end(page, name, end)
    number = _number(page, name, inside)
    step = 0 if 0 <= number < _FIRST_REOPENED else 1
    kind = number - _FIRST_REOPENED if _FIRST_REOPENED <= number < _FIRST_PERHAPS else -1
    if closing:
        counts[1] = max(0, counts[1] - step)
        counts[7] += 1
        if kind >= 0:
            _close(formats, kind)
        return number, 7 if counts[7] > limits[7] else -1
    last = end - 1 if page[end - 1] == 62 else end
    counts[0] += 1
    counts[1] += step if not (foreign and last < end and page[last - 1] == 47) else 0
    counts[4] += formats[0][0]
    if kind >= 0:
        _open(page, inside, last, kind, formats)
    counts[5] += counts[0] if number == _OPTION else 0
    root = number in (_HTML, _BODY)
    counts[2] = 0
    if root or last - inside >= _COUNTED_FROM:
        position = inside
        while True:
            found, position = _attribute(page, position, last)
            if not found:
                break
            counts[2] += 1
        counts[3] += counts[2]
        counts[6] += counts[2] if root else 0
    for index in range(len(counts)):
        if counts[index] > limits[index]:
            return number, index
    return number, -1


@njit(cache=True)
def _no_formats(max_elements: int) -> tuple[Any, Any, Any]:
    """No open formatting elements: how many there are, and the last of each name; of each, the one before and its slot;
    of each slot, start and end of the attributes that it counts, their name, and how many are open.
    """
    heads = np.full(1 + _FIRST_PERHAPS - _FIRST_REOPENED, -1)
    heads[0] = 0
    return heads, np.zeros((max_elements + 2, 2), np.int64), np.zeros((_SLOTS, 4), np.int64)


@njit(cache=True)
def _open(page: Any, start: int, end: int, kind: int, formats: Any) -> None:
    """Count an open formatting element, unless three with its name and attributes are open.

    A slot counts elements of one kind. Another kind that falls into it is not counted there, and so not as equal.
    """
    heads, entries, slots = formats
    if kind < _CLOSED_BY_NEXT:
        _close(formats, kind)
    value = np.uint64(kind)
    for position in range(start, end):
        value = (value ^ np.uint64(page[position])) * np.uint64(0x100000001B3)
    place = int((value ^ (value >> np.uint64(32))) % np.uint64(_SLOTS))
    slot = slots[place]
    if slot[3] == 0:
        slot[0], slot[1], slot[2] = start, end, kind
    same = slot[2] == kind and slot[1] - slot[0] == end - start
    offset = 0
    while same and offset < end - start:
        same = page[slot[0] + offset] == page[start + offset]
        offset += 1
    if same:
        if slot[3] >= _MOST_EQUAL:
            return
        slot[3] += 1
    entries[0, 0] += 1  # the first row counts the others
    entry = entries[0, 0]
    entries[entry, 0], entries[entry, 1] = heads[1 + kind], place if same else -1
    heads[1 + kind] = entry
    heads[0] += 1


@njit(cache=True)
def _close(formats: Any, kind: int) -> None:
    heads, entries, slots = formats
    entry = heads[1 + kind]
    if entry < 0:
        return
    heads[1 + kind] = entries[entry, 0]
    heads[0] -= 1
    if entries[entry, 1] >= 0:
        slots[entries[entry, 1], 3] -= 1


@njit(cache=True)
def _raw_end(page: Any, number: int, position: int) -> int:
    """Where the raw text of an element ends that begins at `position`: there, if the element has none."""
    if number < _FIRST_RAW:
        return position
    if number == _PLAINTEXT:
        return len(page)
    if number == _SCRIPT:
        return _script_end(page, position)
    while position < len(page):
        if page[position] == 60 and _is_end_tag(page, position, number):
            return position
        position += 1
    return len(page)


@njit(cache=True)
def _is_end_tag(page: Any, position: int, number: int) -> bool:
    size = _LONGEST
    while _TABLE[number, size - 1] == 0:
        size -= 1
    behind = position + 2 + size
    if behind >= len(page) or page[position + 1] != 47:
        return False
    if not (_is_space(page[behind]) or page[behind] == 47 or page[behind] == 62):
        return False
    return bool(_same_name(page, position + 2, size, number))


@njit(cache=True)
def _script_end(page: Any, position: int) -> int:
    """Where a script ends: a start tag inside a comment in it hides the next end tag.

    The states are those of WHATWG HTML sections 13.2.5.15 to 13.2.5.31. The dashes that begin a comment may also
    end it.
    """
    comment = hidden = False
    size = len(page)
    while position < size:
        byte = page[position]
        if byte == 60 and position + 3 < size:
            if page[position + 1] == 33 and page[position + 2] == 45 and page[position + 3] == 45:
                comment = True
                position += 2
                continue
            if page[position + 1] == 47 and _is_end_tag(page, position, _SCRIPT):
                if not hidden:
                    return position
                hidden = False
            elif position + 7 < size and _same_name(page, position + 1, 6, _SCRIPT):
                behind = page[position + 7]
                if _is_space(behind) or behind == 47 or behind == 62:
                    hidden = comment
        elif byte == 45 and position + 2 < size and page[position + 1] == 45 and page[position + 2] == 62:
            comment = hidden = False
            position += 2
        position += 1
    return size
