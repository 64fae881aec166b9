"""A worker's view of a shard: documents with edits applied and annotations joined, by row group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.documents import apply_edits, text_bytes
from infra.engine.units import Floor, Shard
from infra.store.lake import Lake
from infra.store.manifest import Part, fetch_part
from infra.tables import read_row_groups, read_table
from infra.thresholds import inside


@dataclass(frozen=True)
class ViewedBatch:
    """The rows of one row group: `documents` as the stages see them, and the UTF-8 bytes of the stored text."""

    documents: pa.Table
    stored_bytes: int


class PartReader:
    """Resolves parts to verified local files: those of a local lake, or copies of a remote one in a cache.

    Calls `used` for each part that it is asked for. Copies that were not used for some time make room for others.
    """

    def __init__(self, lake: Lake, cache: Path, used: Callable[[Part], None] | None = None) -> None:
        self.lake = lake
        self._cache = cache
        self._used = used

    def path(self, part: Part) -> Path:
        """The part as a local file. Raises NotThere or Corrupt."""
        if self._used is not None:
            self._used(part)
        return fetch_part(self.lake, part, self._cache, make_room=True)

    def batches(self, shard: Shard, columns: Iterable[str]) -> Iterator[ViewedBatch]:
        """The shard's row groups with the requested `columns` and ``id``.

        A name without a dot, such as ``text``, is a column of the documents; ``language.label`` is the column
        ``label`` of the annotation that the view calls ``language``. Columns of annotations that the shard lacks are
        omitted. Edits are read only with the text.
        """
        wanted = sorted({"id", *columns})
        own = [name for name in wanted if "." not in name]
        beside = self._beside(shard, wanted)
        edits = (
            [read_table(self.path(part), ["edits"], shard.documents.content) for part in shard.edits]
            if "text" in own
            else []
        )
        row = 0
        for documents in read_row_groups(self.path(shard.documents), own):
            stored = text_bytes(documents["text"]) if "text" in own else 0
            for table in edits:
                spans = table["edits"].slice(row, documents.num_rows)
                viewed, _ = apply_edits(documents["text"], spans)
                documents = documents.set_column(documents.schema.get_field_index("text"), "text", viewed)
            for name, column in beside.items():
                documents = documents.append_column(name, column.slice(row, documents.num_rows))
            row += documents.num_rows
            yield ViewedBatch(documents, stored)

    def whole(self, shard: Shard, columns: Iterable[str]) -> pa.Table:
        """The shard as one table."""
        batches = [batch.documents for batch in self.batches(shard, columns)]
        if not batches:
            raise ValueError(f"{shard.documents.name}: a shard must have at least one document")
        return pa.concat_tables(batches)

    def _beside(self, shard: Shard, wanted: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        found: dict[str, pa.ChunkedArray] = {}
        for name, part in shard.annotations:
            asked = [
                column.partition(".")[2] for column in wanted if column.partition(".")[0] == name and "." in column
            ]
            if asked:
                path = self.path(part)
                there = [column for column in asked if column in pq.read_schema(path).names]
                table = read_table(path, there, about=shard.documents.content)
                found |= {f"{name}.{column}": table[column] for column in there}
        return found


def above_floors(documents: pa.Table, floors: Sequence[Floor]) -> pa.ChunkedArray | pa.Array:
    """For each document, whether it satisfies every floor; a missing value satisfies none."""
    passing = pa.array([True] * documents.num_rows, pa.bool_())
    for floor in floors:
        found = inside(documents[floor.column], floor.at_least, floor.at_most, floor.one_of)
        passing = pc.and_(passing, pc.fill_null(found, False))
    return passing
