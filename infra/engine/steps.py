"""The steps of partitioned stages, and the step of select stages.

Map turns a shard into rows for partitions. Each further step turns the rows of a partition into rows for partitions
again, the last one into rows for shards. Annotate joins them to the documents of a shard. Where many units give rows,
these are merged before the next step.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from infra.engine.kernels import KernelError, stage_and_config
from infra.engine.shards import PartReader, above_floors
from infra.engine.shuffle import GIVEN_BY, Slices, by_giver, merge_rows, read_slice, store_rows
from infra.engine.units import AnnotateUnit, MapUnit, MergeUnit, ReduceUnit, SelectUnit
from infra.store import faults
from infra.store.ledger import Account
from infra.store.manifest import Part, store_part
from infra.tables import TableWriter

Outcome = tuple[list[Part], Account, dict[str, Any]]


def map_step(unit: MapUnit, reader: PartReader, folder: Path) -> Outcome:
    """Run ``map``; one part with the rows of this shard by partition."""
    stage, config = stage_and_config(unit.call)
    documents = reader.whole(unit.shard, [*stage.columns_of(config, "map"), *(floor.column for floor in unit.floors)])
    # Rows count the documents of the shard, whether the kernel is given all of them or not.
    passing = np.flatnonzero(above_floors(documents, unit.floors).slice(0, unit.first))
    rows = stage.steps["map"](documents.take(passing) if len(passing) < documents.num_rows else documents, config)
    if len(passing) < documents.num_rows and "row" in rows.column_names:
        places = pa.array(passing.astype(np.int32)).take(rows["row"])
        rows = rows.set_column(rows.schema.get_field_index("row"), "row", places)
    stored = _store_rows(unit, folder, rows, unit.partitions, f"{stage.name}/map/{unit.shard.documents.name}")
    skipped = documents.num_rows - len(passing)
    return stored[0], Account(rows_in=documents.num_rows, kept=len(passing), skipped=skipped), stored[1]


def reduce_step(unit: ReduceUnit, reader: PartReader, folder: Path) -> Outcome:
    """Run a step between ``map`` and ``annotate``; one part with its rows by partition or by shard."""
    stage, config = stage_and_config(unit.call)
    read = 0

    def tables() -> Iterator[Any]:
        nonlocal read
        for number, part in unit.inputs:
            table = read_slice(reader.path(part), unit.partition)
            read += table.num_rows
            faults.reach("in_reduce")
            yield from by_giver(number, table)

    rows = stage.steps[unit.step](tables(), config)
    if unit.partitions is None and "annotate" not in stage.steps:
        part = _store_table(unit, folder / "rows.parquet", rows, f"{stage.name}/{unit.partition}")
        return [part], Account(rows_in=read, kept=read), {}
    parts, slices = _store_rows(unit, folder, rows, unit.partitions, f"{stage.name}/{unit.step}/{unit.partition}")
    return parts, Account(rows_in=read, kept=read), slices


def merge_step(unit: MergeUnit, reader: PartReader, folder: Path) -> Outcome:
    """Merge the rows of several units; one part with them by partition or by shard."""
    given = [(number, reader.path(part)) for number, part in unit.inputs]
    name = f"{stage_and_config(unit.call)[0].name}/{unit.step}, merged"
    part, slices = merge_rows(unit.lake, folder / "rows.parquet", given, name, unit.digests)
    return [part], Account(rows_in=sum(part.rows for _, part in unit.inputs), kept=part.rows), slices


def annotate_step(unit: AnnotateUnit, reader: PartReader, folder: Path) -> Outcome:
    """Run ``annotate``; one part with one row per document of the shard."""
    stage, config = stage_and_config(unit.call)
    assert stage.schema is not None
    documents = reader.whole(unit.documents, stage.columns_of(config, "annotate"))
    table = stage.kernel(documents, _rows_of(reader, unit.rows, unit.shard), config)
    shard = unit.documents.documents
    if table.num_rows != documents.num_rows:
        raise KernelError(
            f"stage {stage.name} was given {documents.num_rows} documents of {shard.name} and annotated "
            f"{table.num_rows}: a kernel gives one row for each document, in order"
        )
    part = _store_table(unit, folder / "rows.parquet", table, f"{stage.name}/{shard.name}", stage.schema, shard.content)
    return [part], Account(rows_in=documents.num_rows, kept=table.num_rows), {}


def select_step(unit: SelectUnit, reader: PartReader, folder: Path) -> Outcome:
    """Run the kernel of a select stage; one part with the documents it keeps, or no part if it keeps none."""
    stage, config = stage_and_config(unit.call)
    shard = unit.shard.documents
    documents = reader.whole(unit.shard, stage.columns_of(config))
    table, account = stage.kernel(documents, config)
    if account.kept != table.num_rows or account.rows_in != documents.num_rows:
        raise KernelError(
            f"stage {stage.name} was given {documents.num_rows} documents of {shard.name} and gave {table.num_rows}; "
            f"it accounts for {account.rows_in} and {account.kept}"
        )
    if not table.num_rows:
        return [], account, {}
    part = _store_table(unit, folder / "rows.parquet", table, f"{stage.name}/{shard.name}", stage.schema, shard.content)
    return [part], account, {}


def _store_table(
    unit: Any, path: Path, table: pa.Table, name: str, schema: pa.Schema | None = None, about: str | None = None
) -> Part:
    writer = TableWriter(path, schema or table.schema, about)
    writer.write(table)
    written = writer.close()
    part = store_part(unit.lake, path, name=name, rows=written.rows, content=written.content, suffix=".parquet")
    path.unlink()
    return part


def _store_rows(
    unit: MapUnit | ReduceUnit, folder: Path, rows: pa.Table, partitions: int | None, name: str
) -> tuple[list[Part], Slices]:
    column = "shard" if partitions is None else "partition"
    targets = rows[column].to_numpy()
    if partitions is not None:
        targets = (targets % np.uint64(partitions)).astype(np.int64)
    path = folder / "rows.parquet"
    part, slices = store_rows(unit.lake, path, rows.drop_columns([column]), targets, name, unit.digests)
    return [part], slices


def _rows_of(reader: PartReader, parts: tuple[Part, ...], shard: int) -> pa.Table:
    found = pa.concat_tables([read_slice(reader.path(part), shard) for part in parts])
    return found.drop_columns([GIVEN_BY]) if GIVEN_BY in found.column_names else found
