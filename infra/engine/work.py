"""What a worker does with a piece: read, call the kernel, write the parts, then the marker.

Every function here first looks for the marker and returns it when the work is already done.
"""

from __future__ import annotations

import contextlib
import errno
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.documents import text_bytes
from infra.engine.pieces import (
    FitPiece,
    GatherPiece,
    MapPiece,
    PassPiece,
    Piece,
    ReducePiece,
    ScatterPiece,
    SourcePiece,
    StageCall,
)
from infra.engine.reading import read_source
from infra.engine.shards import PartReader, above_floors
from infra.models import ModelFiles
from infra.stage import Stage, StageConfig, find_stage
from infra.store import faults
from infra.store.digests import sha256_file
from infra.store.errors import StoreFull
from infra.store.ledger import FAILURES_KEPT, Account, total
from infra.store.manifest import Marker, Part, read_marker, store_part, write_marker
from infra.tables import ContentDigest, TableWriter, read_table


class KernelError(Exception):
    """A kernel broke its contract."""


def do(piece: Piece, cache: Path) -> dict[str, Marker]:
    """Do one piece of work; gives the marker of each of its calls by key.

    `cache` is a folder for copies of remote parts and for files in the making.
    """
    with _room_for(cache), tempfile.TemporaryDirectory(dir=cache, prefix="work-") as folder:
        reader = PartReader(piece.lake, cache)
        match piece:
            case SourcePiece():
                return _once(piece, piece.call, lambda: read_source(piece, Path(folder)))
            case PassPiece():
                return _do_pass(piece, reader, Path(folder))
            case MapPiece():
                return _once(piece, piece.call, lambda: _do_map(piece, reader, Path(folder)))
            case ReducePiece():
                return _once(piece, piece.call, lambda: _do_reduce(piece, reader, Path(folder)))
            case GatherPiece():
                return _once(piece, piece.call, lambda: _do_gather(piece, reader, Path(folder)))
            case ScatterPiece():
                return _once(piece, piece.call, lambda: _do_scatter(piece, reader, Path(folder)))
            case FitPiece():
                return _once(piece, piece.call, lambda: _do_fit(piece, reader, Path(folder), cache))


@contextlib.contextmanager
def _room_for(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StoreFull(
                f"no space is left in {cache}, where workers write before they upload. Free some, or set TMPDIR to a "
                "folder with more."
            ) from error
        raise


def _once(
    piece: Any, call: StageCall, work: Callable[[], tuple[list[Part], Account, dict[str, Any]]]
) -> dict[str, Marker]:
    name = find_stage(call.reference).name
    found = read_marker(piece.lake, name, call.key)
    if found is None:
        started = time.monotonic()
        parts, account, slices = work()
        account.check(f"stage {name}")
        found = Marker(call.key, tuple(parts), account, round(time.monotonic() - started, 3), slices)
        write_marker(piece.lake, name, found)
    return {call.key: found}


def _do_pass(piece: PassPiece, reader: PartReader, folder: Path) -> dict[str, Marker]:
    done: dict[str, Marker] = {}
    open_calls: list[_OpenAnnotation] = []
    for number, call in enumerate(piece.calls):
        stage = find_stage(call.reference)
        found = read_marker(piece.lake, stage.name, call.key)
        if found is not None:
            done[call.key] = found
        else:
            config = stage.config.model_validate_json(call.config)
            model = _model(call, piece.lake, folder.parent) if stage.load else None
            path = folder / f"{number}.parquet"
            open_calls.append(_OpenAnnotation(call, stage, config, model, path, piece.shard.documents.content))
    if open_calls:
        columns = sorted({"id", "text"}.union(*(annotation.stage.columns for annotation in open_calls)))
        for batch in reader.batches(piece.shard, columns):
            passing = above_floors(batch.documents, piece.floors)
            for annotation in open_calls:
                annotation.annotate(batch.documents, passing, batch.stored_bytes)
        for annotation in open_calls:
            done[annotation.call.key] = annotation.finish(piece)
    return done


class _OpenAnnotation:
    """One annotation in the making."""

    def __init__(self, call: StageCall, stage: Stage, config: StageConfig, model: Any, path: Path, about: str) -> None:
        assert stage.schema is not None
        self.call, self.stage = call, stage
        self._config, self._model, self._path = config, model, path
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
        viewed = text_bytes(documents["text"])
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

    def finish(self, piece: PassPiece) -> Marker:
        written = self._writer.close()
        name = f"{self.stage.name}/{piece.shard.documents.name}"
        account = total(self._accounts)
        account.check(f"stage {name}")
        if written.rows != piece.shard.documents.rows:
            raise KernelError(f"{name}: {written.rows} rows were written for {piece.shard.documents.rows} documents")
        part = store_part(
            piece.lake, self._path, name=name, rows=written.rows, content=written.content, suffix=".parquet"
        )
        marker = Marker(self.call.key, (part,), account, round(self._seconds, 3))
        write_marker(piece.lake, self.stage.name, marker)
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


def _do_map(piece: MapPiece, reader: PartReader, folder: Path) -> tuple[list[Part], Account, dict[str, Any]]:
    stage, config = _stage_and_config(piece.call)
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


def _do_reduce(piece: ReducePiece, reader: PartReader, folder: Path) -> tuple[list[Part], Account, dict[str, Any]]:
    stage, config = _stage_and_config(piece.call)
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


def _do_gather(piece: GatherPiece, reader: PartReader, folder: Path) -> tuple[list[Part], Account, dict[str, Any]]:
    stage, config = _stage_and_config(piece.call)
    rows = _rows_of(reader, piece.rows, piece.shard)
    shards = dict(piece.shards)

    def documents(shard: int) -> pa.Table:
        return reader.whole(shards[shard], stage.columns)

    gathered = stage.steps["gather"](rows, documents, config)
    part = _store_table(piece, folder / "rows.parquet", gathered, f"{stage.name}/gather/{piece.shard}")
    return [part], Account(rows_in=rows.num_rows, kept=rows.num_rows), {}


def _do_scatter(piece: ScatterPiece, reader: PartReader, folder: Path) -> tuple[list[Part], Account, dict[str, Any]]:
    stage, config = _stage_and_config(piece.call)
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
    path = folder / "scattered.parquet"
    writer = TableWriter(path, stage.schema, piece.documents.documents.content)
    writer.write(table)
    written = writer.close()
    name = f"{stage.name}/{piece.documents.documents.name}"
    part = store_part(piece.lake, path, name=name, rows=written.rows, content=written.content, suffix=".parquet")
    return [part], account, {}


def _do_fit(
    piece: FitPiece, reader: PartReader, folder: Path, cache: Path
) -> tuple[list[Part], Account, dict[str, Any]]:
    stage, config = _stage_and_config(piece.call)
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
        arguments.append(_model(piece.call, piece.lake, cache))
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


def _stage_and_config(call: StageCall) -> tuple[Stage, StageConfig]:
    stage = find_stage(call.reference)
    return stage, stage.config.model_validate_json(call.config)


@lru_cache(maxsize=8)
def _loaded(reference: str, config: str, identity: str, files: tuple[tuple[str, str], ...]) -> Any:
    stage = find_stage(reference)
    assert stage.load is not None
    return stage.load(stage.config.model_validate_json(config), {name: Path(path) for name, path in files})


def _model(call: StageCall, lake: Any, cache: Path) -> Any:
    models: ModelFiles = call.models
    files = models.fetch(lake, cache)
    identity = repr(sorted(models.identity().items()))
    return _loaded(
        call.reference, call.config, identity, tuple((name, str(path)) for name, path in sorted(files.items()))
    )


def _store_table(piece: Any, path: Path, table: pa.Table, name: str) -> Part:
    writer = TableWriter(path, table.schema)
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
