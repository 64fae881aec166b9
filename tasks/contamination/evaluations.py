"""Reads evaluation sets: a folder of JSON Lines, one item a line, whatever their fields are called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.sources.decompressed import decompressed
from tasks.sources.fields import Number
from tasks.sources.json_line import LineFault, parse_line
from tasks.sources.lines import read_lines

# A set is ours to choose, so a wrong line is an error and not a count. The limits are those of the reader `jsonl`.
_LONGEST_LINE = 16 << 20
_DEEPEST, _MOST_VALUES = 100, 1 << 20
_SET = re.compile(r"(?P<name>.+?)\.(?:jsonl|json|ndjson)(?:\.(?:gz|zst|xz|bz2))?", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z]+://\S*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Item:
    """One item: the name of its evaluation, the number of its line, from 1, and its strings in their order."""

    evaluation: str
    line: int
    strings: tuple[str, ...]


def read_items(files: Mapping[str, Path]) -> Iterator[Item]:
    """The items of every evaluation set among `files`, by name of the file and then in order.

    A set is a file NAME.jsonl or NAME.json, compressed or not; other files, such as licences, are passed over. The
    strings of an item are those of all its fields, in lists and in fields of fields, too; addresses are left out.
    Raises ValueError that names the file and the line for a line that is no JSON, and where there is no set, a set
    without items, or two files with the same name.
    """
    sets: dict[str, str] = {}
    for file in sorted(files):
        found = _SET.fullmatch(file)
        if found is not None and (other := sets.setdefault(found["name"], file)) != file:
            raise ValueError(f"{other} and {file} are both the set {found['name']}: rename one of them, or delete it")
    if not sets:
        raise ValueError(f"no evaluation set is among {', '.join(sorted(files))}: give a folder with NAME.jsonl files")
    for name, file in sets.items():
        empty = True
        for item in _items(name, file, files[file]):
            empty = False
            yield item
        if empty:
            raise ValueError(f"{file} has no items: delete it, or fetch it again")


def _items(name: str, file: str, path: Path) -> Iterator[Item]:
    with path.open("rb") as stream:
        for number, line in enumerate(read_lines(decompressed(stream), _LONGEST_LINE), 1):
            if line.fault is not None:
                raise ValueError(f"{file} is damaged in line {number} ({line.fault.detail}): fetch it again")
            if line.content is None:
                raise ValueError(f"{file}, line {number}: the line is longer than {_LONGEST_LINE} bytes")
            if line.content.strip():
                yield Item(name, number, tuple(_strings(_parse(line.content, file, number))))


def _parse(line: bytes, name: str, number: int) -> Any:
    try:
        return parse_line(line, _DEEPEST, _MOST_VALUES)
    except LineFault as fault:
        raise ValueError(f"{name}, line {number}: {fault}. Give one JSON object a line") from None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if not isinstance(value, Number) and not _ADDRESS.fullmatch(value.strip()):
            yield value.encode("utf-8", "replace").decode()
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
