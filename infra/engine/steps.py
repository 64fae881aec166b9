"""The steps of partitioned stages: a shard cut up, a partition brought together, rows brought back to a shard."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.engine.kernels import KernelError, stage_and_config
from infra.engine.pieces import GatherPiece, MapPiece, ReducePiece, ScatterPiece
from infra.engine.shards import PartReader
from infra.store import faults
from infra.store.ledger import Account
from infra.store.manifest import Part, store_part
from infra.tables import ContentDigest, TableWriter, read_table

Outcome = tuple[list[Part], Account, dict[str, Any]]


def map_step(piece: MapPiece, reader: PartReader, folder: Path) -> Outcome:
    """One part for each partition, with the rows of this shard."""
    stage, config = stage_and_config(piece.call)
    documents = reader.whole(piece.shard, stage.columns)
    rows = stage.steps["map"](documents, config)
    partitions = config.model_dump()["partitions"]
    parts = []
    written = 0
    for partition in range(partitions):
        selected = rows.filter(pc.equal(rows["partition"], partition)).drop_columns(["partition"])
        parts.append(
            _store_table(piece, folder / "rows.parquet", selected, f"{piece.shard.documents.name}/{partition}")
        )
        written += selected.num_rows
    if written != rows.num_rows:
        raise KernelError(f"stage {stage.name}: map gave rows of partitions outside 0..{partitions - 1}")
    return parts, Account(rows_in=documents.num_rows, kept=documents.num_rows), {}


def reduce_step(piece: ReducePiece, reader: PartReader, folder: Path) -> Outcome:
    """One part with the rows of a partition, sorted by the shard that each is for, and what each shard's rows are."""
    stage, config = stage_and_config(piece.call)
    read = 0

    def tables() -> Iterator[Any]:
        nonlocal read
        for shard, part in piece.inputs:
            table = read_table(reader.path(part))
            read += table.num_rows
            faults.reach("in_reduce")
            yield table if piece.step == "settle" else (shard, table)

    rows = stage.steps[piece.step](tables(), config).sort_by("shard")
    part = _store_table(piece, folder / "rows.parquet", rows, f"{stage.name}/{piece.step}")
    return [part], Account(rows_in=read, kept=read), _slices(rows)


def gather_step(piece: GatherPiece, reader: PartReader, folder: Path) -> Outcome:
    """One part with what the stage made of one shard's rows."""
    stage, config = stage_and_config(piece.call)
    rows = _rows_of(reader, piece.rows, piece.shard)
    shards = dict(piece.shards)

    def documents(shard: int) -> pa.Table:
        return reader.whole(shards[shard], stage.columns)

    gathered = stage.steps["gather"](rows, documents, config)
    part = _store_table(piece, folder / "rows.parquet", gathered, f"{stage.name}/gather/{piece.shard}")
    return [part], Account(rows_in=rows.num_rows, kept=rows.num_rows), {}


def scatter_step(piece: ScatterPiece, reader: PartReader, folder: Path) -> Outcome:
    """The part about one shard's documents, or none when a stage that selects kept nothing."""
    stage, config = stage_and_config(piece.call)
    assert stage.schema is not None
    documents = reader.whole(piece.documents, stage.columns)
    result = stage.kernel(documents, _rows_of(reader, piece.rows, piece.shard), config)
    if stage.aligned:
        table, account = result, Account(rows_in=documents.num_rows, kept=result.num_rows)
    else:
        table, account = result
        if account.kept != table.num_rows:
            raise KernelError(
                f"stage {stage.name}: {account.kept} rows are booked as kept, {table.num_rows} were given"
            )
    if account.rows_in != documents.num_rows or (stage.aligned and table.num_rows != documents.num_rows):
        raise KernelError(
            f"stage {stage.name} was given {documents.num_rows} documents of {piece.documents.documents.name} "
            f"and accounts for {table.num_rows if stage.aligned else account.rows_in}"
        )
    if not stage.aligned and not table.num_rows:
        return [], account, {}
    shard = piece.documents.documents
    name = f"{stage.name}/{shard.name}"
    return [_store_table(piece, folder / "rows.parquet", table, name, stage.schema, shard.content)], account, {}


def _store_table(
    piece: Any, path: Path, table: pa.Table, name: str, schema: pa.Schema | None = None, about: str | None = None
) -> Part:
    writer = TableWriter(path, schema or table.schema, about)
    writer.write(table)
    written = writer.close()
    part = store_part(piece.lake, path, name=name, rows=written.rows, content=written.content, suffix=".parquet")
    path.unlink()
    return part


def _rows_of(reader: PartReader, parts: tuple[Part, ...], shard: int) -> pa.Table:
    tables = [
        pq.read_table(reader.path(part), filters=[("shard", "=", shard)], page_checksum_verification=True)
        for part in parts
    ]
    return pa.concat_tables(tables)


def _slices(rows: pa.Table) -> dict[str, Any]:
    """For each shard that `rows` (sorted by shard) speak to: the digest of its rows, and the other shards they name."""
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
