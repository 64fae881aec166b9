"""Finds the capture of a site's file that holds for a document, in the files of the stage `site_captures`."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa

from tasks.corpus.index import hash_name
from tasks.text.dates import instant
from tasks.text.urls import parse_url

INDEX, BODIES = "captures.arrow", "captures.txt"
INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.uint64()),
        ("name", pa.string()),
        ("instant", pa.int64()),
        ("date", pa.string()),
        ("status", pa.int16()),
        ("location", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("cut", pa.int8()),
    ]
)
UNDATED = np.iinfo(np.int64).min  # sorts before all dates
_MOST_REDIRECTS = 5  # RFC 9309 section 2.3.1.2
_KEPT_FILES = 64

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Capture:
    """A captured file: its `status`, its `text` (empty but for 2xx), and whether that was `cut`.

    Captures with the same text have the same `place`: where it begins and ends in the file of all texts.
    """

    status: int
    date: str | None
    text: str
    cut: bool
    place: tuple[int, int]


class Captures:
    """Captures by file and site, from files that stay on disk. Raises ValueError for others."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        if {INDEX, BODIES} - files.keys():
            raise ValueError(f"captures of sites are the files {INDEX} and {BODIES}, not {', '.join(sorted(files))}")
        try:
            table = pa.ipc.open_file(pa.memory_map(str(files[INDEX]))).read_all().combine_chunks()
            table.validate(full=True)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{files[INDEX]} is no index of captures ({error}): fit it again") from error
        if table.schema != INDEX_SCHEMA:
            raise ValueError(f"{files[INDEX]} has other columns than an index of captures: fit it again")
        self._table = table
        self._keys, self._instants = (table[name].to_numpy() for name in ("key", "instant"))
        size = files[BODIES].stat().st_size
        with files[BODIES].open("rb") as stream:
            self._bodies = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b""

    def find(self, file: str, site: str, when: int | None) -> Capture | None:
        """The capture of a site's `file` (its path) that holds at an instant (`tasks.text.dates`); None without one.

        It is the newest that is not later, else the earliest; without an instant, the newest. Redirects are followed,
        five at most, to the same file of other sites; what leads elsewhere has the status of the redirect.
        """
        first = found = self._at(file, site, when)
        for _ in range(_MOST_REDIRECTS):
            target = parse_url(found["location"]) if found is not None and 300 <= found["status"] < 400 else None
            if target is None or target.target != file:
                break
            found = self._at(file, target.site, when)
        found = found or first
        if found is None:
            return None
        text = self._bodies[found["start"] : found["end"]].decode("utf-8", "replace")
        return Capture(found["status"], found["date"], text, bool(found["cut"]), (found["start"], found["end"]))

    def _at(self, file: str, site: str, when: int | None) -> dict[str, Any] | None:
        """The row of the index that holds at an instant, whatever its status."""
        name = capture_name(file, site)
        key = np.uint64(hash_name(name))
        first, end = (int(np.searchsorted(self._keys, key, side)) for side in ("left", "right"))
        place = end if when is None else first + int(np.searchsorted(self._instants[first:end], when, "right"))
        # Names with the same hash are between each other.
        for row in (*range(place - 1, first - 1, -1), *range(place, end)):
            if self._table["name"][row].as_py() == name:
                [found] = self._table.slice(row, 1).to_pylist()
                return dict(found)
        return None


class ParsedCaptures(Generic[Parsed]):
    """Captures, of whose texts the last ones that were asked for are kept as `parse` gives them."""

    def __init__(self, captures: Captures, parse: Callable[[str], Parsed]) -> None:
        self.captures = captures
        self._parse = parse
        self._parsed: dict[tuple[int, int], Parsed] = {}

    def parsed(self, capture: Capture) -> Parsed:
        """What the text of a capture says."""
        if capture.place not in self._parsed:
            if len(self._parsed) >= _KEPT_FILES:
                del self._parsed[next(iter(self._parsed))]
            self._parsed[capture.place] = self._parse(capture.text)
        return self._parsed[capture.place]


def capture_name(file: str, site: str) -> str:
    """The name of a site's file in the index."""
    return site + file


def load_captures(config: object, files: Mapping[str, Path]) -> Captures:
    """The captures that stages look up. Raises ValueError for other files."""
    return Captures(files)


def try_captures(files: Mapping[str, Path]) -> None:
    """Load captures. Raises ValueError for other files."""
    Captures(files)


def find_for(captures: Captures, file: str, url: str | None, date: str | None) -> Capture | None:
    """The capture that holds for a document; None for one without a valid URL, or without a capture."""
    parts = parse_url(url)
    return None if parts is None else captures.find(file, parts.site, None if date is None else instant(date))
