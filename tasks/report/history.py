"""The history of a document: what every step of a build wrote about it, and its outcome.

Reads a bounded number of objects: the index, and the parts for the shard of the document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.documents import EDITS_TYPE, apply_edits
from infra.engine.shards import PartReader
from infra.stage import Stage
from infra.store.errors import NotThere
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from infra.tables import read_row_groups
from tasks.builds import BuildRecord
from tasks.corpus.index import find_documents
from tasks.corpus.rules import KEPT
from tasks.stages import STEPS, NoStage, find_stage

_SHOWN_ELSEWHERE = ("documents", "rules", "corpus", "encode")


@dataclass(frozen=True)
class DocumentHistory:
    """One document: `document` as stored, `steps` with the columns that each wrote about it, and its outcome.

    `compared` says with which document the choice among duplicates compared it last: ``step``, ``match``,
    ``match_known``, ``similarity``, ``lost`` (see `tasks.corpus.outcomes`). It is empty if there was none.
    """

    source: str
    document: dict[str, Any]
    shard: str
    row: int
    viewed_text: str
    steps: dict[str, dict[str, Any]]
    outcome: str
    compared: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The history as printed by `millrace explain --json`."""
        return {
            **{name: value for name, value in self.document.items() if name != "text"},
            "metadata": json.loads(self.document["metadata"] or "{}"),
            "shard": self.shard,
            "row": self.row,
            "characters": len(self.document["text"]),
            "characters_viewed": len(self.viewed_text),
            "stages": self.steps,
            "fate": self.outcome or "kept",
            "compared": self.compared,
        }


@dataclass(frozen=True)
class _Place:
    source: str
    shard: int
    row: int
    shards_before: int


def histories_of(lake: Lake, build: BuildRecord, name: str, cache: Path) -> list[DocumentHistory]:
    """The histories of all documents of a build with the id or URL `name`. Empty if there is none."""
    reader = PartReader(lake, cache)
    documents = {source: build.manifest(lake, f"{source}/documents") for source in build.sources}
    rows = [part.rows for manifest in documents.values() for part in manifest.parts]
    found = []
    for number, row in find_documents(reader, build.manifest(lake, "index"), rows, name):
        place = _place(documents, number, row)
        stored = _row(reader.path(documents[place.source].parts[place.shard]), place.row)
        if name in (stored["id"], stored["url"]):
            found.append(_history(lake, build, reader, documents[place.source], place, stored))
    return found


def stage_of(build: BuildRecord, source: str, step: str) -> Stage | None:
    """The stage of a step; None if it is not installed."""
    artifact = build.artifacts.get(f"{source}/{step}") or build.artifacts.get(f"across/{step}")
    try:
        return None if artifact is None else find_stage(artifact[0], *STEPS)
    except NoStage:
        return None


def _history(
    lake: Lake, build: BuildRecord, reader: PartReader, documents: Manifest, place: _Place, stored: dict[str, Any]
) -> DocumentHistory:
    shard = documents.parts[place.shard]
    steps: dict[str, dict[str, Any]] = {}
    text = stored["text"]
    for step, manifest, first in _annotations(lake, build, place):
        columns = _row(reader.path(manifest.parts[first + place.shard]), place.row, about=shard.content)
        if "edits" in columns:
            edits = pa.chunked_array([pa.array([columns.pop("edits")], EDITS_TYPE)])
            text = apply_edits(pa.chunked_array([[text]]), edits)[0][0].as_py()
        steps[step] = {column: value for column, value in columns.items() if _is_readable(value)}
    part = build.manifest(lake, "outcomes").parts[place.shards_before + place.shard]
    found = _row(reader.path(part), place.row, about=shard.content)
    compared = {}
    if found.get("compared") is not None:
        names = ("match", "match_known", "similarity", "lost")
        compared = {"step": found["compared"], **{name: found[name] for name in names}}
    return DocumentHistory(place.source, stored, shard.name, place.row, text, steps, found["outcome"] or KEPT, compared)


def _is_readable(value: Any) -> bool:
    """Whether people read a value: no signature and no list of hashes, but a list of spans with names."""
    if isinstance(value, list):
        return all(isinstance(item, dict) for item in value)
    return not isinstance(value, bytes)


def _annotations(lake: Lake, build: BuildRecord, place: _Place) -> Iterator[tuple[str, Manifest, int]]:
    """Name and artifact of every step that wrote about the document, and the part for the source's first shard."""
    for name in build.artifacts:
        scope, _, step = name.partition("/")
        if scope == place.source and step not in _SHOWN_ELSEWHERE:
            yield step, build.manifest(lake, name), 0
        elif scope == "across":
            yield step, build.manifest(lake, name), place.shards_before


def _place(documents: dict[str, Manifest], number: int, row: int) -> _Place:
    before = 0
    for source, manifest in documents.items():
        if number - before < len(manifest.parts):
            return _Place(source, number - before, row, before)
        before += len(manifest.parts)
    raise NotThere(f"the index refers to shard {number} after the last one: run `millrace verify` on the build")


def _row(path: Path, row: int, about: str | None = None) -> dict[str, Any]:
    for group in read_row_groups(path, about=about):
        if row < group.num_rows:
            return dict(group.slice(row, 1).to_pylist()[0])
        row -= group.num_rows
    raise NotThere(f"{path} has no such row")
