"""A fit: files made of all documents, read in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.engine.kernels import KernelError, model_of, stage_and_config
from infra.engine.pieces import FitPiece
from infra.engine.shards import PartReader
from infra.store import faults
from infra.store.digests import sha256_file
from infra.store.ledger import Account
from infra.store.manifest import Part, store_part


def fit(piece: FitPiece, reader: PartReader, folder: Path, cache: Path) -> tuple[list[Part], Account, dict[str, Any]]:
    """The files that the kernel made, by name. Raises KernelError when it did not read every document."""
    stage, config = stage_and_config(piece.call)
    rows = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal rows
        for shard in piece.shards:
            for batch in reader.batches(shard, stage.columns):
                rows += batch.documents.num_rows
                yield batch.documents
                faults.reach("in_fit")

    arguments: list[Any] = [tables(), config, folder]
    if stage.load is not None:
        arguments.append(model_of(piece.call, piece.lake, cache))
    files = stage.kernel(*arguments)
    parts = []
    for name in sorted(files):
        sha256 = sha256_file(files[name])
        suffix = Path(name).suffix
        parts.append(store_part(piece.lake, files[name], name=name, rows=-1, content=sha256, suffix=suffix))
    expected = sum(shard.documents.rows for shard in piece.shards)
    if rows != expected:
        raise KernelError(f"stage {stage.name} read {rows} of {expected} documents")
    return parts, Account(rows_in=rows, kept=rows), {}
