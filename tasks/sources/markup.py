"""Limits on the markup of a page, checked in one pass before a parser sees it."""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Iterator

# Of 1,808 real pages, the largest have 12,800 elements, 282 attributes in one tag, 20,000 in all, and 51 levels.
MAX_ELEMENTS = 50_000
_MAX_ATTRIBUTES = 1_000
_MAX_ATTRIBUTES_OF_PAGE = 100_000
_MAX_NESTED = 5_000
# Characters of a tag from which its attributes are counted: shorter tags hold at most half as many.
_COUNTED_FROM = 200
_SPACE = r"\t\n\f\r "
_ATTRIBUTE = (
    rf"[{_SPACE}/]*+[^{_SPACE}/>][^{_SPACE}/>=]*+"
    rf"""(?:[{_SPACE}]*+=[{_SPACE}]*+(?:"[^"]*+"?+|'[^']*+'?+|[^{_SPACE}>]*+))?+"""
)
# Start and end tags, comments and other declarations (WHATWG HTML section 13.2.5). Possessive, so linear.
_MARKUP = re.compile(
    rf"<(?:(/?+)([A-Za-z][^{_SPACE}/>]*+)((?:{_ATTRIBUTE})*+)[{_SPACE}/]*+>?+"
    r"|!--(?:-?>|.*?(?:--!?>|\Z))|[!?/][^>]*+)",
    re.DOTALL,
)
_ONE_ATTRIBUTE = re.compile(_ATTRIBUTE)
_RAW_END = {
    name: re.compile(rf"</{name}(?=[{_SPACE}/>])", re.IGNORECASE)
    for name in ("style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
}
# In these, a parser may read the content of raw elements as markup (WHATWG HTML sections 13.2.6.4.16, 13.2.6.4.20 and
# 13.2.6.5): whether it does depends on its tree.
_PERHAPS_MARKUP = frozenset({"svg", "math", "select", "frameset"})
# In these, a parser reads HTML again, and ignores the end tags of what is around them.
_HTML_AGAIN = frozenset({"foreignobject", "desc", "annotation-xml", "mi", "mn", "mo", "ms", "mtext"})
_WATCHED = _PERHAPS_MARKUP | _HTML_AGAIN
# What moves a tokenizer between the states of a script (WHATWG HTML sections 13.2.5.15 to 13.2.5.31). The dashes that
# begin a comment may also end it.
_IN_SCRIPT = re.compile(rf"<!(?=--)|-->|<(/?+)script(?=[{_SPACE}/>])", re.IGNORECASE)
# Elements that have no content, or whose end tag is optional.
_OPEN_ENDED = (
    "area base basefont bgsound body br caption col colgroup dd dt embed frame head hr html img input keygen li link"
    " meta optgroup option p param rb rp rt rtc source tbody td tfoot th thead tr track wbr"
)
_UNNESTED = frozenset(_OPEN_ENDED.split())
# A parser opens these again in every block that follows, until they are closed; of equal ones, the last three.
_REOPENED = "a b big code em font i nobr s small strike strong tt u"
_FORMATTING = frozenset(_REOPENED.split())
_MOST_EQUAL = 3
_CLOSED_BY_NEXT = frozenset({"a", "nobr"})
_REOPENED_PER_ELEMENT = 10
_COUNTED = (
    *("elements", "elements nested in each other", "attributes in one tag", "attributes"),
    "elements opened again, because they were not closed",
)


class MarkupLimit(Exception):
    """A page has more markup than a limit allows."""


def check_markup(page: str, max_elements: int) -> None:
    """Raise MarkupLimit if a page is too much work for a parser.

    Parsers need more than linear time or memory for attributes (quadratic in one tag), for open elements (searched at
    every tag) and for unclosed formatting elements (opened again in every block). The limits are `max_elements` tags,
    1,000 attributes in a tag and 100,000 in a page, 5,000 elements nested in each other, not counting those whose end
    tag is optional, and 10 * `max_elements` elements opened again.
    """
    elements = nested = attributes = reopened = 0
    formats = _Formats()
    limits = (
        *(max_elements, _MAX_NESTED, _MAX_ATTRIBUTES, _MAX_ATTRIBUTES_OF_PAGE),
        _REOPENED_PER_ELEMENT * max_elements,
    )
    for end, name, inside, closed in _tags(page):
        step = name not in _UNNESTED
        if end:
            nested = max(0, nested - step)
            formats.close(name)
            continue
        elements += 1
        nested += step and not closed
        reopened += formats.open
        formats.start(name, inside)
        own = len(_ONE_ATTRIBUTE.findall(inside)) if len(inside) >= _COUNTED_FROM else 0
        attributes += own
        counts = (elements, nested, own, attributes, reopened)
        if any(map(operator.gt, counts, limits)):
            beyond = [count > limit for count, limit in zip(counts, limits, strict=True)].index(True)
            raise MarkupLimit(f"the page has more than {limits[beyond]} {_COUNTED[beyond]}")


def _tags(page: str) -> Iterator[tuple[bool, str, str, bool]]:
    """Of every tag outside of raw texts: whether it is an end tag, its name, its attributes, whether it ends in "/".

    A raw text that a parser may read as markup is read as such, too.
    """
    position = 0
    opened: Counter[str] = Counter()
    perhaps_markup = False
    while found := _MARKUP.search(page, position):
        position = found.end()
        if found[2] is None:
            continue
        tag = _tag(found)
        yield tag
        end, name, _, closed = tag
        if name in _WATCHED:
            if not end:
                opened[name] += not closed
            elif name in _HTML_AGAIN or not any(opened[around] for around in _HTML_AGAIN):
                opened[name] = max(0, opened[name] - 1)
            perhaps_markup = any(opened[around] for around in _PERHAPS_MARKUP)
        raw_end = position if end else _raw_end(name, page, position)
        if perhaps_markup:
            yield from (_tag(inner) for inner in _MARKUP.finditer(page, position, raw_end) if inner[2] is not None)
        position = raw_end


def _tag(found: re.Match[str]) -> tuple[bool, str, str, bool]:
    return bool(found[1]), found[2].lower(), found[3], found.string.endswith("/>", found.start(), found.end())


def _raw_end(name: str, page: str, position: int) -> int:
    """Where the raw text of an element ends that begins at `position`: there, if the element has none."""
    if name == "plaintext":
        return len(page)
    if name == "script":
        return _script_end(page, position)
    if name not in _RAW_END:
        return position
    found = _RAW_END[name].search(page, position)
    return found.start() if found else len(page)


def _script_end(page: str, position: int) -> int:
    """Where a script ends: a start tag inside a comment in it hides the next end tag."""
    comment = hidden = False
    for found in _IN_SCRIPT.finditer(page, position):
        if found[0] == "<!":
            comment = True
        elif found[0] == "-->":
            comment = hidden = False
        elif found[1] and not hidden:
            return found.start()
        else:
            hidden = comment and not found[1]
    return len(page)


class _Formats:
    """The unclosed formatting elements of a page."""

    def __init__(self) -> None:
        self.open = 0
        self.equal: Counter[tuple[str, str]] = Counter()
        self.of_name: dict[str, list[str]] = {name: [] for name in _FORMATTING}

    def start(self, name: str, inside: str) -> None:
        if name not in self.of_name:
            return
        if name in _CLOSED_BY_NEXT:
            self.close(name)
        if self.equal[name, inside] < _MOST_EQUAL:
            self.equal[name, inside] += 1
            self.of_name[name].append(inside)
            self.open += 1

    def close(self, name: str) -> None:
        if self.of_name.get(name):
            self.equal[name, self.of_name[name].pop()] -= 1
            self.open -= 1
