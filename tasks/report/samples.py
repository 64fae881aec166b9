"""A few documents of many, always the same ones, and the values that decided about them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.engine.shards import PartReader
from infra.tables import read_table
from tasks.corpus.components import hash_name
from tasks.report.judged import BuildParts


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A document: its source, shard and row."""

    source: str
    shard: int
    row: int


@dataclass(slots=True)
class Samples:
    """The `most` documents with the least hashes of their ids, in that order."""

    most: int = 3
    _heap: list[tuple[int, str, Place]] = field(default_factory=list)  # the largest hash first, as a negative number

    def add(self, documents: Iterable[tuple[str, Place]]) -> None:
        """Consider documents, by their ids."""
        for identity, place in documents:
            entry = (-hash_name(identity), identity, place)
            if len(self._heap) < self.most:
                heapq.heappush(self._heap, entry)
            elif entry > self._heap[0]:
                heapq.heapreplace(self._heap, entry)

    @property
    def places(self) -> list[Place]:
        """The places of the documents."""
        return [place for _, _, place in sorted(self._heap, reverse=True)]


@dataclass(frozen=True, slots=True)
class SampleDocument:
    """A document, with the values of the columns that decided about it."""

    id: str
    url: str | None
    values: dict[str, Any]


def describe_sample(reader: PartReader, build: BuildParts, place: Place, columns: Sequence[str]) -> SampleDocument:
    """The document at a place; `columns` are ``STEP.COLUMN``."""
    part = build.documents(place.source).parts[place.shard]
    stored = read_table(reader.path(part), ["id", "url"]).slice(place.row, 1).to_pylist()[0]
    values = {}
    for column in columns:
        step, _, own = column.partition(".")
        annotation = read_table(reader.path(build.part(place.source, step, place.shard)), [own], about=part.content)
        values[column] = annotation[own][place.row].as_py()
    return SampleDocument(stored["id"], stored["url"], values)


def deciding_columns(rules: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[tuple[str, str], list[str]]:
    """The columns of the rules that drop documents, by source and outcome. `rules` are a recipe's, by source."""
    found: dict[tuple[str, str], list[str]] = {}
    for source, own in rules.items():
        for rule in own:
            step = rule["column"].partition(".")[0]
            columns = found.setdefault((source, f"{step}:dropped:{rule['reason']}"), [])
            columns += [rule["column"]] if rule["column"] not in columns else []
    return found
