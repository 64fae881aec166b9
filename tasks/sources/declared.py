"""What a captured page says of rights, in its HTTP header and its markup, as lines for the metadata of a document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import urljoin

from tasks.rights.said import CUT, RIGHTS
from tasks.sources.extraction import storable
from tasks.sources.headers import field_lines

# Of 1,804 real pages, none says more than 5 lines, and none more than 110 characters in one.
_MOST_LINES = 64
_MOST_CHARACTERS = 1_000
_FIELDS = ("x-robots-tag", "tdm-reservation", "tdm-policy", "content-usage", "link")
_SOME_FIELD = re.compile(rb"\n(?:%b)[ \t]*:" % "|".join(_FIELDS).encode(), re.IGNORECASE)
_LINK = re.compile(r'<([^<>]*+)>((?:\s*+;\s*+[^\s;,="]++\s*+(?:=\s*+(?:"[^"]*+"|[^\s;,"]*+))?+)*+)')
_LICENCE_RELATION = re.compile(r"""\brel\s*=\s*(?:"(?:[^"]*\s)?license(?:\s[^"]*)?"|license\b)""", re.IGNORECASE)


def declared_rights(header: bytes, said: Iterable[tuple[str, str]], url: str | None) -> dict[str, str]:
    """The metadata ``rights``: lines ``PLACE NAME: VALUE`` (`tasks.rights.said`), each once; none for nothing said.

    `said` is what the markup says. Targets of links are made absolute, by `url`. 64 lines, of 1,000 characters each,
    are kept; a last line then says how many are left out or shortened.
    """
    lines: dict[str, None] = {}
    cut = 0
    for place, value in (*_said_by_header(header), *said):
        head = value[: 2 * _MOST_CHARACTERS]
        if place.endswith(" license") and not place.startswith("meta"):
            head = _absolute(head.strip(), url or "")
        plain = " ".join(f"{place}: {storable(head)}".split())
        line = plain[:_MOST_CHARACTERS]
        if line in lines:
            continue
        full = len(lines) == _MOST_LINES
        cut += full or len(value) > 2 * _MOST_CHARACTERS or len(plain) > _MOST_CHARACTERS
        if not full:
            lines[line] = None
    return {RIGHTS: "\n".join([*lines, *([f"{CUT}{cut}"] if cut else [])])} if lines else {}


def _said_by_header(header: bytes) -> Iterator[tuple[str, str]]:
    if not _SOME_FIELD.search(header):
        return
    for name, value in field_lines(header):
        if name == "link":
            for link in _LINK.finditer(value) if "icense" in value else ():
                if _LICENCE_RELATION.search(link[2]):
                    yield "link license", link[1]
        elif name in _FIELDS:
            yield f"header {name}", value


def _absolute(target: str, url: str) -> str:
    try:
        return urljoin(url, target)
    except ValueError:  # such as a bracket in the host
        return target
