"""Reads one input file into shards and accounts for every record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.budget import limited_memory
from infra.documents import DOCUMENT_SCHEMA, documents_table
from infra.engine.records import RecordReader
from infra.engine.sampling import Sampler
from infra.engine.shards import PartReader
from infra.engine.units import SourceUnit
from infra.engine.watch import Watch, run_carefully
from infra.outcomes import Document, Dropped, Failed, Kept, Outcome
from infra.stage import find_stage
from infra.store.digests import key_of
from infra.store.inputs import check_unchanged, open_input
from infra.store.ledger import FAILURES_KEPT, Account
from infra.store.manifest import Part, store_part
from infra.store.verdicts import Verdicts
from infra.tables import ROW_GROUP_BYTES, ROW_GROUP_ROWS, TableWriter

SHARD_ROWS = 10_000
SHARD_BYTES = 64 << 20
_EXAMPLE_LENGTH = 300


def read_source(unit: SourceUnit, reader: PartReader, folder: Path) -> tuple[list[Part], Account, dict[str, Any]]:
    """Read the file; returns its shards in order and its account.

    A shard ends after `SHARD_ROWS` documents or `SHARD_BYTES` of text, whichever comes first. Shards therefore
    depend only on the data, and not on the number of workers.
    """
    return run_carefully(_read, unit, folder) if unit.careful else _read(unit, folder, Watch(unit.budget))


def _read(unit: SourceUnit, folder: Path, watch: Watch) -> tuple[list[Part], Account, dict[str, Any]]:
    stage = find_stage(unit.call.reference)
    config = stage.config.model_validate_json(unit.call.config)
    verdicts = Verdicts(unit.lake, stage.name, key_of(stage.identity(config, unit.call.models.identity())))
    records = RecordReader(unit.file, watch, verdicts)
    books = _SourceBooks(unit.file.name)
    sampler = None if unit.sample is None else Sampler(unit.sample, unit.file.sha256)
    parts: list[Part] = []
    with open_input(unit.file.uri) as stream, limited_memory(unit.budget):
        found = stage.kernel(stream, unit.file.name, config)
        documents = books.documents(records.outcomes(found if sampler is None else sampler.of(found)))
        for number, shard in enumerate(_shards(documents)):
            path = folder / "shard.parquet"
            writer = TableWriter(path, DOCUMENT_SCHEMA)
            for group in shard:
                writer.write(documents_table(group))
            written = writer.close()
            name = f"{unit.file.name}#{number}"
            parts.append(
                store_part(unit.lake, path, name=name, rows=written.rows, content=written.content, suffix=".parquet")
            )
    check_unchanged(unit.file)
    account = books.account(rows_written=sum(part.rows for part in parts))
    return parts, account if sampler is None else replace(account, measures=account.measures | sampler.measures), {}


class _SourceBooks:
    """Counts the outcomes of records; the writer counts the kept documents."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._records = self._bytes = self._kept_bytes = 0
        self._fates: dict[str, dict[str, int]] = {"dropped": {}, "failed": {}}
        self._fate_bytes: dict[str, int] = {}
        self._examples: dict[str, str] = {}
        self._failures: list[dict[str, Any]] = []
        self._measures = Counter[str]()

    def documents(self, outcomes: Iterable[Outcome]) -> Iterator[Document]:
        for outcome in outcomes:
            self._records += 1
            self._bytes += outcome.bytes
            match outcome:
                case Kept():
                    self._kept_bytes += outcome.bytes
                    self._measures.update(outcome.measures)
                    yield outcome.document
                case Dropped():
                    self._count("dropped", outcome)
                    self._examples.setdefault(outcome.reason, outcome.example[:_EXAMPLE_LENGTH])
                case Failed():
                    self._count("failed", outcome)
                    if len(self._failures) < FAILURES_KEPT:
                        self._failures.append(
                            {
                                "file": self._name,
                                "offset": outcome.offset,
                                "reason": outcome.reason,
                                "example": outcome.example[:_EXAMPLE_LENGTH],
                            }
                        )

    def account(self, rows_written: int) -> Account:
        return Account(
            rows_in=self._records,
            kept=rows_written,
            dropped=dict(sorted(self._fates["dropped"].items())),
            failed=dict(sorted(self._fates["failed"].items())),
            bytes_in=self._bytes,
            bytes_out={"kept": self._kept_bytes, **dict(sorted(self._fate_bytes.items()))},
            examples=dict(sorted(self._examples.items())),
            failures=self._failures,
            measures=dict(sorted(self._measures.items())),
        )

    def _count(self, fate: str, outcome: Dropped | Failed) -> None:
        self._fates[fate][outcome.reason] = self._fates[fate].get(outcome.reason, 0) + 1
        self._fate_bytes[outcome.reason] = self._fate_bytes.get(outcome.reason, 0) + outcome.bytes


def _shards(documents: Iterable[Document]) -> Iterator[Iterator[list[Document]]]:
    """Split the stream into shards of row groups, with at most one row group in memory."""
    stream = _RowGroups(documents)
    while stream.more():
        yield stream.shard()


class _RowGroups:
    def __init__(self, documents: Iterable[Document]) -> None:
        self._documents = iter(documents)
        self._next: Document | None = next(self._documents, None)

    def more(self) -> bool:
        return self._next is not None

    def shard(self) -> Iterator[list[Document]]:
        rows = size = 0
        group: list[Document] = []
        group_size = 0
        while self._next is not None:
            length = len(self._next.text.encode())
            if rows and (rows >= SHARD_ROWS or size + length > SHARD_BYTES):
                break
            if group and (len(group) >= ROW_GROUP_ROWS or group_size + length > ROW_GROUP_BYTES):
                yield group
                group, group_size = [], 0
            group.append(self._next)
            rows, size, group_size = rows + 1, size + length, group_size + length
            self._next = next(self._documents, None)
        if group:
            yield group
