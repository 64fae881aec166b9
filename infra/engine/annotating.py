"""A pass: one read of a shard for several annotators, each of which writes its own part and marker."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.documents import text_bytes
from infra.engine.kernels import KernelError, model_of
from infra.engine.shards import PartReader, above_floors
from infra.engine.units import Call, PassUnit
from infra.stage import Stage, StageConfig, find_stage
from infra.store.ledger import FAILURES_KEPT, Account, total
from infra.store.manifest import Marker, read_marker, store_part, write_marker
from infra.tables import TableWriter


def annotate(unit: PassUnit, reader: PartReader, folder: Path) -> dict[str, Marker]:
    """Run the calls of a pass that have no marker yet. Returns the markers of all its calls by key."""
    done: dict[str, Marker] = {}
    open_calls: list[_OpenAnnotation] = []
    for number, call in enumerate(unit.calls):
        stage = find_stage(call.reference)
        found = read_marker(unit.lake, stage.name, call.key)
        if found is not None:
            done[call.key] = found
        else:
            config = stage.config.model_validate_json(call.config)
            model = model_of(call, unit.lake, folder.parent) if stage.load else None
            path = folder / f"{number}.parquet"
            open_calls.append(_OpenAnnotation(call, stage, config, model, path, unit.shard.documents.content))
    if open_calls:
        columns = {floor.column for floor in unit.floors}.union(*(annotation.columns for annotation in open_calls))
        for batch in reader.batches(unit.shard, columns):
            passing = above_floors(batch.documents, unit.floors)
            for annotation in open_calls:
                annotation.annotate(batch.documents, passing, batch.stored_bytes)
        for annotation in open_calls:
            done[annotation.call.key] = annotation.finish(unit)
    return done


class _OpenAnnotation:
    """One annotation in progress."""

    def __init__(self, call: Call, stage: Stage, config: StageConfig, model: Any, path: Path, about: str) -> None:
        assert stage.schema is not None
        self.call, self.stage = call, stage
        self._config, self._model, self._path = config, model, path
        self.columns = stage.columns_of(config)
        self._schema = stage.schema
        self._writer = TableWriter(path, stage.schema, about)
        self._accounts: list[Account] = []
        self._seconds = 0.0

    def annotate(self, documents: pa.Table, passing: pa.Array, stored_bytes: int) -> None:
        started = time.monotonic()
        read = documents.filter(passing)
        arguments = (read, self._config, self._model) if self.stage.load else (read, self._config)
        annotations = self.stage.kernel(*arguments) if read.num_rows else self._schema.empty_table()
        if annotations.num_rows != read.num_rows:
            raise KernelError(
                f"stage {self.stage.name} was given {read.num_rows} documents and annotated {annotations.num_rows}: "
                "a kernel gives one row for each document, in order"
            )
        failed = _failures(read, annotations)
        skipped = documents.num_rows - read.num_rows
        if skipped:
            rows = pc.subtract(pc.cumulative_sum(pc.cast(passing, pa.int64())), 1)
            annotations = annotations.take(pc.if_else(passing, rows, pa.scalar(None, pa.int64())))
        self._writer.write(annotations)
        # A pass that does not read the text has no bytes to account for.
        viewed = text_bytes(documents["text"]) if "text" in documents.column_names else 0
        self._accounts.append(
            Account(
                rows_in=documents.num_rows,
                kept=read.num_rows - len(failed),
                skipped=skipped,
                failed={reason: sum(item["reason"] == reason for item in failed) for reason in _reasons(failed)},
                bytes_in=stored_bytes,
                bytes_out={"kept": viewed, "struck": stored_bytes - viewed},
                failures=failed[:FAILURES_KEPT],
            )
        )
        self._seconds += time.monotonic() - started

    def finish(self, unit: PassUnit) -> Marker:
        written = self._writer.close()
        name = f"{self.stage.name}/{unit.shard.documents.name}"
        account = total(self._accounts)
        account.check(f"stage {name}")
        if written.rows != unit.shard.documents.rows:
            raise KernelError(f"{name}: {written.rows} rows were written for {unit.shard.documents.rows} documents")
        part = store_part(
            unit.lake, self._path, name=name, rows=written.rows, content=written.content, suffix=".parquet"
        )
        marker = Marker(self.call.key, (part,), account, round(self._seconds, 3))
        write_marker(unit.lake, self.stage.name, marker)
        return marker


def _failures(documents: pa.Table, annotations: pa.Table) -> list[dict[str, Any]]:
    if "failed" not in annotations.column_names:
        return []
    found = [
        {"document": document, "reason": reason}
        for document, reason in zip(documents["id"].to_pylist(), annotations["failed"].to_pylist(), strict=True)
        if reason is not None
    ]
    return found


def _reasons(failures: list[dict[str, Any]]) -> list[str]:
    return sorted({failure["reason"] for failure in failures})
