"""A pass: one read of a shard for several annotators, each of which writes its own part and marker."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.budget import limited_memory
from infra.documents import text_bytes
from infra.engine.kernels import KernelError, model_of
from infra.engine.scheduling import WorkerDied
from infra.engine.shards import PartReader, above_floors
from infra.engine.units import Call, PassUnit
from infra.engine.usage import peak, requests
from infra.engine.watch import OverBudget, Watch, run_carefully
from infra.outcomes import OVER_BUDGET
from infra.stage import find_stage
from infra.store.digests import key_of, sha256_bytes
from infra.store.ledger import FAILURES_KEPT, Account, total
from infra.store.manifest import Marker, read_marker, store_part, write_marker
from infra.store.verdicts import Verdicts
from infra.tables import TableWriter, WrittenTable, read_table

FAILED = "failed"


def annotate(unit: PassUnit, folder: Path) -> dict[str, Marker]:
    """Run the calls of a pass that have no marker yet. Returns the markers of all its calls by key."""
    return run_carefully(_annotate, unit, folder) if unit.careful else _annotate(unit, folder, Watch(unit.budget))


def _annotate(unit: PassUnit, folder: Path, watch: Watch) -> dict[str, Marker]:
    cache = folder.parent
    done: dict[str, Marker] = {}
    open_calls: list[_OpenAnnotation] = []
    before = requests(unit.lake)
    for number, call in enumerate(unit.calls):
        found = read_marker(unit.lake, find_stage(call.reference).name, call.key)
        if found is not None:
            done[call.key] = found
        else:
            open_calls.append(_OpenAnnotation(unit, call, folder / f"{number}.parquet", cache, watch))
    if open_calls:
        columns = {floor.column for floor in unit.floors}.union(*(annotation.columns for annotation in open_calls))
        with limited_memory(unit.budget):
            for batch in PartReader(unit.lake, cache).batches(unit.shard, columns):
                passing = above_floors(batch.documents, unit.floors)
                for annotation in open_calls:
                    annotation.annotate(batch.documents, passing, batch.stored_bytes)
        for annotation in open_calls:
            # What all of them read is in the account of the first.
            done[annotation.call.key] = annotation.finish(before)
            before = requests(unit.lake)
    return done


class _OpenAnnotation:
    """One annotation in progress."""

    def __init__(self, unit: PassUnit, call: Call, path: Path, cache: Path, watch: Watch) -> None:
        self.call, self.stage = call, find_stage(call.reference)
        assert self.stage.schema is not None
        self._unit, self._path, self._watch = unit, path, watch
        self._config = self.stage.config.model_validate_json(call.config)
        self._model = model_of(call, unit.lake, cache) if self.stage.load else None
        self.columns = self.stage.columns_of(self._config)
        self._schema = self.stage.schema
        identity = key_of(self.stage.identity(self._config, call.models.identity()))
        self._verdicts = Verdicts(unit.lake, self.stage.name, identity)
        self._over_budget: list[pa.Array] = []
        self._writer = TableWriter(path, self._schema, unit.shard.documents.content)
        self._accounts: list[Account] = []
        self._seconds = 0.0

    def annotate(self, documents: pa.Table, passing: pa.Array, stored_bytes: int) -> None:
        started = time.monotonic()
        read = documents.filter(passing)
        annotations = self._annotations(read) if read.num_rows else self._schema.empty_table()
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
        self._over_budget.append(_over_budget(annotations))
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

    def finish(self, before: int) -> Marker:
        """Write the part and the marker, whose requests are those after the first `before`."""
        unit = self._unit
        written = self._writer.close()
        name = f"{self.stage.name}/{unit.shard.documents.name}"
        account = total(self._accounts)
        account.check(f"stage {name}")
        if written.rows != unit.shard.documents.rows:
            raise KernelError(f"{name}: {written.rows} rows were written for {unit.shard.documents.rows} documents")
        if FAILED not in self._schema.names and OVER_BUDGET in account.failed:
            written = self._add_failures()
        part = store_part(
            unit.lake, self._path, name=name, rows=written.rows, content=written.content, suffix=".parquet"
        )
        used = requests(unit.lake) - before + 1
        marker = Marker(self.call.key, (part,), account, round(self._seconds, 3), requests=used, peak=peak())
        write_marker(unit.lake, self.stage.name, marker)
        return marker

    def _annotations(self, documents: pa.Table) -> pa.Table:
        digests = _digests(documents) if self._verdicts or self._watch.careful else []
        if self._watch.careful or any(digest in self._verdicts for digest in digests):
            return pa.concat_tables(
                [self._annotation(documents.slice(row, 1), digest) for row, digest in enumerate(digests)]
            )
        try:
            return self._watch.take(lambda: self._call(documents))
        except OverBudget as over:
            raise WorkerDied(f": it {over}") from over

    def _annotation(self, document: pa.Table, digest: str) -> pa.Table:
        """The annotation of one document, with a column ``failed`` in any case."""
        try:
            found = self._watch.take(lambda: self._call(document), digest in self._verdicts)
            found, reason = found.select(self._schema.names).cast(self._schema), None
        except OverBudget as over:
            where = f"document {document['id'][0].as_py()}"
            self._verdicts.add(digest, {"where": where, "cause": str(over), "budget": str(self._watch.budget)})
            found = pa.table([pa.nulls(1, field.type) for field in self._schema], schema=self._schema)
            reason = OVER_BUDGET
        if FAILED not in found.column_names:
            return found.append_column(FAILED, pa.array([reason], pa.string()))
        column = pa.array([reason], pa.string()) if reason else found[FAILED]
        return found.set_column(found.schema.get_field_index(FAILED), FAILED, column)

    def _call(self, documents: pa.Table) -> pa.Table:
        arguments = (documents, self._config, self._model) if self.stage.load else (documents, self._config)
        found: pa.Table = self.stage.kernel(*arguments)
        return found

    def _add_failures(self) -> WrittenTable:
        """Write the file again, with the column ``failed`` that the stage does not have itself."""
        column = pa.concat_arrays(self._over_budget)
        table = read_table(self._path).append_column(FAILED, column)
        writer = TableWriter(self._path, table.schema.remove_metadata(), self._unit.shard.documents.content)
        writer.write(table)
        return writer.close()


def _digests(documents: pa.Table) -> list[str]:
    ids = documents["id"].to_pylist()
    texts = documents["text"].to_pylist() if "text" in documents.column_names else [""] * len(ids)
    return [sha256_bytes(f"{identity}\0{text}".encode()) for identity, text in zip(ids, texts, strict=True)]


def _over_budget(annotations: pa.Table) -> pa.Array:
    if FAILED not in annotations.column_names:
        return pa.nulls(annotations.num_rows, pa.string())
    return annotations[FAILED].cast(pa.string()).combine_chunks()


def _failures(documents: pa.Table, annotations: pa.Table) -> list[dict[str, Any]]:
    if FAILED not in annotations.column_names:
        return []
    found = [
        {"document": document, "reason": reason}
        for document, reason in zip(documents["id"].to_pylist(), annotations[FAILED].to_pylist(), strict=True)
        if reason is not None
    ]
    return found


def _reasons(failures: list[dict[str, Any]]) -> list[str]:
    return sorted({failure["reason"] for failure in failures})
