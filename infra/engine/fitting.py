"""Fit stages: read all documents in order and produce files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.engine.kernels import KernelError, model_of, stage_and_config
from infra.engine.shards import PartReader, above_floors
from infra.engine.shuffle import read_slice
from infra.engine.units import FitGroupUnit, FitJoinUnit, FitUnit, GroupUnit
from infra.store import faults
from infra.store.digests import sha256_file
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Part, store_part


def fit(unit: FitUnit, reader: PartReader, folder: Path) -> tuple[list[Part], Account, dict[str, Any]]:
    """Run the kernel; returns its files as parts, sorted by name. Raises KernelError if it left documents unread."""
    return make_files(unit, reader, folder)


def make_files(
    unit: FitUnit | GroupUnit, reader: PartReader, folder: Path, *more: object
) -> tuple[list[Part], Account, dict[str, Any]]:
    """Call the kernel with the documents of all shards, config, folder, `more` and the model; see `fit`."""
    stage, config = stage_and_config(unit.call)
    columns = stage.columns_of(config)
    rows = kept = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal rows, kept
        for shard, floors in unit.shards:
            for batch in reader.batches(shard, [*columns, *(floor.column for floor in floors)]):
                passing = batch.documents.filter(above_floors(batch.documents, floors))
                rows += batch.documents.num_rows
                kept += passing.num_rows
                yield passing
                faults.reach("in_fit")

    arguments: list[Any] = [tables(), config, folder, *more]
    if stage.load is not None:
        arguments.append(model_of(unit.call, unit.lake, folder.parent))
    parts = store_files(unit.lake, stage.kernel(*arguments))
    expected = sum(shard.documents.rows for shard, _ in unit.shards)
    if rows != expected:
        raise KernelError(f"stage {stage.name} read {rows} of {expected} documents")
    return parts, Account(rows_in=rows, kept=kept, skipped=rows - kept), {}


def fit_group(unit: FitGroupUnit, reader: PartReader, folder: Path) -> tuple[list[Part], Account, dict[str, Any]]:
    """Run the step ``group`` on the rows of one partition; returns its files as parts, sorted by name."""
    stage, config = stage_and_config(unit.call)
    read = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal read
        for part in unit.rows:
            table = read_slice(reader.path(part), unit.partition)
            read += table.num_rows
            yield table
            faults.reach("in_fit")

    parts = store_files(unit.lake, stage.steps["group"](tables(), config, folder))
    return parts, Account(rows_in=read, kept=read), {}


def join_fits(unit: FitJoinUnit, reader: PartReader, folder: Path) -> tuple[list[Part], Account, dict[str, Any]]:
    """Run the step ``join`` on the partial files of all partitions; returns its files as parts, sorted by name."""
    stage, config = stage_and_config(unit.call)
    partial = {part.name: reader.path(part) for part in unit.partial}
    return store_files(unit.lake, stage.steps["join"](partial, config, folder)), Account(), {}


def store_files(lake: Lake, files: Mapping[str, Path]) -> list[Part]:
    """The files as parts, sorted by name."""
    parts = []
    for name in sorted(files):
        path = files[name]
        parts.append(store_part(lake, path, name=name, rows=-1, content=sha256_file(path), suffix=path.suffix))
    return parts
