"""Limits on the markup of a page, checked in one pass before a parser sees it."""

from __future__ import annotations

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
    for name in ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
}
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
        for count, limit, what in (
            (elements, max_elements, "elements"),
            (nested, _MAX_NESTED, "elements nested in each other"),
            (own, _MAX_ATTRIBUTES, "attributes in one tag"),
            (attributes, _MAX_ATTRIBUTES_OF_PAGE, "attributes"),
            (reopened, _REOPENED_PER_ELEMENT * max_elements, "elements opened again, because they were not closed"),
        ):
            if count > limit:
                raise MarkupLimit(f"the page has more than {limit} {what}")


def _tags(page: str) -> Iterator[tuple[bool, str, str, bool]]:
    """Of every tag outside of raw texts: whether it is an end tag, its name, its attributes, whether it ends in "/"."""
    position = 0
    while found := _MARKUP.search(page, position):
        position = found.end()
        end, name, inside = found.groups()
        if name is None:
            continue
        name = name.lower()
        yield bool(end), name, inside, page[position - 2 : position] == "/>"
        if name == "plaintext":
            return
        if not end and name in _RAW_END:
            raw_end = _RAW_END[name].search(page, position)
            if raw_end is None:
                return
            position = raw_end.start()


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
