"""The life of a document: what every stage of a build found out about it, and what became of it.

Reads a bounded number of objects: the index, and the parts of the one shard where the document lies.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.builds import BuildRecord
from infra.documents import EDITS_TYPE, apply_edits
from infra.engine.shards import PartReader
from infra.store.errors import NotThere
from infra.store.lake import Lake
from infra.store.manifest import Manifest, Part
from infra.tables import read_row_groups


@dataclass(frozen=True)
class Life:
    """One document: `document` as stored, `stages` with the columns each wrote about it, and its fate."""

    document: dict[str, Any]
    shard: str
    row: int
    viewed_text: str
    stages: dict[str, dict[str, Any]]
    fate: str

    def to_json(self) -> dict[str, Any]:
        """As `millrace explain --json` prints it."""
        return {
            **{name: value for name, value in self.document.items() if name != "text"},
            "metadata": json.loads(self.document["metadata"] or "{}"),
            "shard": self.shard,
            "row": self.row,
            "characters": len(self.document["text"]),
            "characters_viewed": len(self.viewed_text),
            "stages": self.stages,
            "fate": self.fate or "kept",
        }


def lives_of(
    lake: Lake, build: BuildRecord, name: str, find: Callable[[Path, str], list[int]], cache: Path
) -> list[Life]:
    """The lives of all documents of a build whose id or URL is `name`; `find` asks the index. Empty for none."""
    reader = PartReader(lake, cache)
    documents = build.manifest(lake, "documents")
    [index] = build.manifest(lake, "index").parts
    lives = []
    for number in find(reader.path(index), name):
        shard, row = _place(documents, number)
        stored = _row(reader.path(documents.parts[shard]), row)
        if name in (stored["id"], stored["url"]):
            lives.append(_life(lake, build, reader, documents.parts[shard], shard, row, stored))
    return lives


def _life(
    lake: Lake, build: BuildRecord, reader: PartReader, part: Part, shard: int, row: int, stored: dict[str, Any]
) -> Life:
    stages: dict[str, dict[str, Any]] = {}
    text = stored["text"]
    for name in build.artifacts:
        if "/" in name or name in ("documents", "index", "corpus", "encode", "tokens", "tokenizer"):
            continue
        annotation = build.manifest(lake, name)
        if annotation.parts[0].rows < 0:
            continue
        columns = _row(reader.path(annotation.parts[shard]), row, about=part.content)
        if "edits" in columns:
            edits = pa.chunked_array([pa.array([columns.pop("edits")], EDITS_TYPE)])
            text = apply_edits(pa.chunked_array([[text]]), edits)[0][0].as_py()
        stages[name] = {column: value for column, value in columns.items() if not isinstance(value, (bytes, list))}
    fate = _fate(reader, build.manifest(lake, "corpus"), shard, row)
    return Life(stored, part.name, row, text, stages, fate)


def _place(documents: Manifest, number: int) -> tuple[int, int]:
    for shard, part in enumerate(documents.parts):
        if number < part.rows:
            return shard, number
        number -= part.rows
    raise NotThere(f"the index names document {number} beyond the last shard: `millrace verify` the build")


def _row(path: Path, row: int, about: str | None = None) -> dict[str, Any]:
    for group in read_row_groups(path, about=about):
        if row < group.num_rows:
            return dict(group.slice(row, 1).to_pylist()[0])
        row -= group.num_rows
    raise NotThere(f"{path} has no such row")


def _fate(reader: PartReader, corpus: Manifest, shard: int, row: int) -> str:
    [part] = corpus.evidence("reduce")
    here = (pc.field("shard") == shard) & (pc.field("row") == row)
    [fate] = pq.read_table(reader.path(part), filters=here, page_checksum_verification=True)["fate"].to_pylist()
    return str(fate)
