"""The steps of partitioned stages, and the step of select stages.

Map splits a shard into partitions, reduce merges a partition of all shards, and annotate returns rows to a shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.engine.kernels import KernelError, stage_and_config
from infra.engine.shards import PartReader, above_floors
from infra.engine.units import AnnotateUnit, MapUnit, ReduceUnit, SelectUnit, VerifyUnit
from infra.store import faults
from infra.store.ledger import Account
from infra.store.manifest import Part, store_part
from infra.tables import ContentDigest, TableWriter, read_table

Outcome = tuple[list[Part], Account, dict[str, Any]]


def map_step(unit: MapUnit, reader: PartReader, folder: Path) -> Outcome:
    """Run ``map``; one part per partition with the rows of this shard."""
    stage, config = stage_and_config(unit.call)
    documents = reader.whole(unit.shard, [*stage.columns_of(config, "map"), *(floor.column for floor in unit.floors)])
    # Rows count the documents of the shard, whether the kernel is given all of them or not.
    passing = np.flatnonzero(above_floors(documents, unit.floors))
    rows = stage.steps["map"](documents.take(passing) if len(passing) < documents.num_rows else documents, config)
    if len(passing) < documents.num_rows:
        places = pa.array(passing.astype(np.int32)).take(rows["row"])
        rows = rows.set_column(rows.schema.get_field_index("row"), "row", places)
    partitions = config.model_dump()["partitions"]
    parts = []
    written = 0
    for partition in range(partitions):
        selected = rows.filter(pc.equal(rows["partition"], partition)).drop_columns(["partition"])
        parts.append(_store_table(unit, folder / "rows.parquet", selected, f"{unit.shard.documents.name}/{partition}"))
        written += selected.num_rows
    if written != rows.num_rows:
        raise KernelError(f"stage {stage.name}: map gave rows of partitions outside 0..{partitions - 1}")
    skipped = documents.num_rows - len(passing)
    return parts, Account(rows_in=documents.num_rows, kept=len(passing), skipped=skipped), {}


def reduce_step(unit: ReduceUnit, reader: PartReader, folder: Path) -> Outcome:
    """Run ``reduce`` or ``resolve``; one part with the rows, sorted by target shard, and the slice of each shard."""
    stage, config = stage_and_config(unit.call)
    read = 0

    def tables() -> Iterator[Any]:
        nonlocal read
        for shard, part in unit.inputs:
            table = read_table(reader.path(part))
            read += table.num_rows
            faults.reach("in_reduce")
            yield table if unit.step == "resolve" else (shard, table)

    rows = stage.steps[unit.step](tables(), config).sort_by("shard")
    part = _store_table(unit, folder / "rows.parquet", rows, f"{stage.name}/{unit.step}")
    return [part], Account(rows_in=read, kept=read), _slices(rows)


def verify_step(unit: VerifyUnit, reader: PartReader, folder: Path) -> Outcome:
    """Run ``verify``; one part with the verified rows of one shard."""
    stage, config = stage_and_config(unit.call)
    rows = _rows_of(reader, unit.rows, unit.shard)
    shards = dict(unit.shards)
    columns = stage.columns_of(config, "verify")

    def documents(shard: int) -> pa.Table:
        return reader.whole(shards[shard], columns)

    verified = stage.steps["verify"](rows, documents, config)
    part = _store_table(unit, folder / "rows.parquet", verified, f"{stage.name}/verify/{unit.shard}")
    return [part], Account(rows_in=rows.num_rows, kept=rows.num_rows), {}


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


def _rows_of(reader: PartReader, parts: tuple[Part, ...], shard: int) -> pa.Table:
    tables = [
        pq.read_table(reader.path(part), filters=[("shard", "=", shard)], page_checksum_verification=True)
        for part in parts
    ]
    return pa.concat_tables(tables)


def _slices(rows: pa.Table) -> dict[str, Any]:
    """For each shard in `rows` (sorted by shard): the digest of its rows, and the other shards that they reference."""
    if not rows.num_rows:
        return {}
    shards = rows["shard"].combine_chunks().to_numpy()
    found: dict[str, Any] = {}
    starts = [0, *(int(index) + 1 for index in (shards[1:] != shards[:-1]).nonzero()[0]), len(shards)]
    for start, end in pairwise(starts):
        cut = rows.slice(start, end - start)
        digest = ContentDigest(rows.schema)
        digest.update(cut)
        others = pc.unique(cut["other_shard"]).to_pylist() if "other_shard" in rows.column_names else []
        found[str(shards[start])] = {"content": digest.hexdigest(), "others": sorted(others)}
    return found
