"""The lines in which a document's metadata tell what its page said of rights: ``PLACE NAME: VALUE``.

The place is ``header``, ``meta``, ``link`` (a link that declares a licence) or ``mention`` (another one to a licence of
Creative Commons).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

RIGHTS = "rights"  # the metadata with the lines
CUT = "cut: "  # before the number of lines that are left out or shortened, in the last line
_KEY = f'"{RIGHTS}":'
_PLACES = ("header", "meta", "link", "mention")


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that a page says: its place, its name in lower case, and its value."""

    place: str
    name: str
    value: str


def said_in_stored(metadata: str | None) -> tuple[list[Said], bool]:
    """As `said_in`, of metadata as a document stores them."""
    if metadata is None or _KEY not in metadata:  # most say nothing, and need no parser
        return [], False
    return said_in(json.loads(metadata))


def said_in(metadata: Mapping[str, object]) -> tuple[list[Said], bool]:
    """What the metadata of a document say, in order, and whether some of it was cut."""
    lines = metadata.get(RIGHTS)
    if not isinstance(lines, str):
        return [], False
    return list(_parsed(lines.split("\n"))), f"\n{CUT}" in lines


def _parsed(lines: list[str]) -> Iterator[Said]:
    for line in lines:
        head, colon, value = line.partition(":")
        place, _, name = head.partition(" ")
        # A name of a meta element may have a colon itself: ``dc:rights``.
        if place == "meta" and name in ("dc", "dcterms"):
            rest, colon, value = value.partition(":")
            name = f"{name}:{rest}"
        if colon and name and place in _PLACES:
            yield Said(place, name, value.strip())
