"""Lists of addresses in files: which lines are about a URL. Hashes of all entries are in memory, 22 bytes each."""

from __future__ import annotations

import hashlib
import mmap
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from tasks.addresses.entries import key_of_entry, keys_of_url
from tasks.text.dates import instant
from tasks.text.urls import Url

# More lengths of prefixes than that in all lists would cost every document as many look-ups.
_MOST_LENGTHS = 256
_LONGEST_LINE = 16 << 10


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a list: the file's name, the line's number from 1 on, the address and the rest of the line."""

    file: str
    line: int
    address: str
    rest: str

    @property
    def since(self) -> int | None:
        """The instant of the date behind the address (`tasks.text.dates`); None without one."""
        return _instant(self.rest)


@dataclass(frozen=True, slots=True)
class AddressFile:
    """A file of addresses, a line each; blank lines and what begins with ``#`` are none.

    `below`: an address is about what is below it, too. `strict`: a line without an address, or with something else than
    a date behind it, is an error. Otherwise the one is an entry about nothing, and the other does not matter. A file of
    which more than half the lines are such has another format, and is an error.
    """

    name: str
    path: Path
    below: bool = False
    strict: bool = True


class AddressLists:
    """The entries of several files, in order. Raises ValueError that names the file and the line."""

    def __init__(self, files: list[AddressFile]) -> None:
        keys, places, lines, owners = array("Q"), array("q"), array("i"), array("H")
        lengths: set[int] = set()
        self._names = [file.name for file in files]
        self._texts = [_mapped(file.path) for file in files]
        for owner, file in enumerate(files):
            for line, place, key in _keyed(file, self._texts[owner]):
                if key[0] == "p":
                    lengths.add(len(key) - 1)
                keys.append(_hash(key))
                places.append(place)
                lines.append(line)
                owners.append(owner)
        if len(lengths) > _MOST_LENGTHS:
            raise ValueError(
                f"the prefixes in {', '.join(self._names[:3])} have {len(lengths)} different lengths. Every document "
                f"is looked up by each, so {_MOST_LENGTHS} are the most: list fewer prefixes, or hosts"
            )
        self._lengths = sorted(lengths, reverse=True)
        order = np.argsort(np.frombuffer(keys, np.uint64) if keys else np.empty(0, np.uint64), kind="stable")
        self._keys, self._places, self._lines, self._owners = (
            np.array(column, kind)[order]
            for column, kind in ((keys, np.uint64), (places, np.int64), (lines, np.int32), (owners, np.uint16))
        )

    def about(self, url: Url) -> Iterator[Entry]:
        """The entries about a URL: the narrowest first, and equal ones in the order of files and lines."""
        if not len(self._keys):
            return
        for key in keys_of_url(url, self._lengths):
            hashed = np.uint64(_hash(key))
            row = int(np.searchsorted(self._keys, hashed))
            while row < len(self._keys) and self._keys[row] == hashed:
                owner = int(self._owners[row])
                entry = self._entry(owner, int(self._places[row]), int(self._lines[row]))
                # Hashes may be equal by chance.
                if key in (key_of_entry(entry.address), key_of_entry(entry.address, below=True)):
                    yield entry
                row += 1

    def _entry(self, owner: int, place: int, line: int) -> Entry:
        text = self._texts[owner]
        end = text.find(b"\n", place)
        stored = text[place : len(text) if end < 0 else end].decode("utf-8", "replace")
        address, *rest = stored.lstrip("\ufeff").split(None, 1)
        return Entry(self._names[owner], line, address, rest[0].strip() if rest else "")


def _keyed(file: AddressFile, text: bytes | mmap.mmap) -> Iterator[tuple[int, int, str]]:
    """Line, place and key of every entry."""
    written = other = 0
    example = ""
    for line, place, address, rest in _addresses(file, text):
        key = key_of_entry(address, file.below)
        if file.strict and rest and _instant(rest) is None:
            raise ValueError(f"{file.name}, line {line}: {rest[:80]!r} is no date: write it as 2026-10-31")
        if file.strict and key is None:
            raise ValueError(f"{file.name}, line {line}: {address[:80]!r} is no host, URL or prefix of URLs")
        written += 1
        if key is None or (rest and not rest.startswith("#")):
            other += 1
            example = example or f"line {line}: {f'{address} {rest}'.strip()[:80]!r}"
        if key is not None:
            yield line, place, key
    if not file.strict and 2 * other > written:
        raise ValueError(
            f"{file.name} is no list of addresses: {other} of its {written} entries have no host or URL that stands "
            f"alone, such as {example}. Give plain text with one of these a line"
        )


def _addresses(file: AddressFile, text: bytes | mmap.mmap) -> Iterator[tuple[int, int, str, str]]:
    """Line, place and address of every entry, and what stands behind it."""
    place = line = 0
    while place < len(text):
        end = text.find(b"\n", place)
        end = len(text) if end < 0 else end
        line += 1
        if end - place > _LONGEST_LINE:
            raise ValueError(
                f"{file.name}, line {line}: it has {end - place} bytes: give a list with an address a line"
            )
        stored = text[place:end]
        start, place = place, end + 1
        try:
            words = stored.decode("utf-8-sig" if line == 1 else "utf-8", "strict" if file.strict else "replace").split(
                None, 1
            )
        except UnicodeDecodeError as error:
            raise ValueError(f"{file.name}, line {line}: it is not UTF-8") from error
        if words and not words[0].startswith("#"):
            yield line, start, words[0], words[1].strip() if len(words) > 1 else ""


def _mapped(path: Path) -> bytes | mmap.mmap:
    with path.open("rb") as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=8).digest(), "little")


@lru_cache(maxsize=1 << 12)
def _instant(date: str) -> int | None:
    return instant(date)
