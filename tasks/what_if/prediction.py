"""What a changed recipe keeps beside what a build kept: by source, language and bucket, and which documents change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.engine.shards import PartReader
from infra.store.manifest import Manifest
from infra.tables import read_table
from tasks.corpus.rules import KEPT
from tasks.report.judged import BuildParts, judged_shards
from tasks.report.samples import Place, Samples
from tasks.what_if.arrivals import Arrivals
from tasks.what_if.judging import OUTCOMES


class GroupName(NamedTuple):
    """Documents of one source, language and bucket of perplexity; None where there is none."""

    source: str
    language: str | None
    bucket: str | None


class ChangeName(NamedTuple):
    """What became of some documents of a source, and what will: ``step:dropped:reason``, or "" for the corpus."""

    source: str
    before: str
    after: str


@dataclass(slots=True)
class Amount:
    """Documents and tokens that a build kept, and that the changed recipe would keep."""

    documents: int = 0
    tokens: int = 0
    documents_then: int = 0
    tokens_then: int = 0

    def add(self, other: Amount) -> None:
        """Add another amount to this one."""
        self.documents += other.documents
        self.tokens += other.tokens
        self.documents_then += other.documents_then
        self.tokens_then += other.tokens_then


@dataclass(slots=True)
class Change:
    """Documents with the same change: how many, their tokens where they are kept, and some of them."""

    documents: int = 0
    tokens: int = 0
    samples: Samples = field(default_factory=Samples)


@dataclass(frozen=True)
class Prediction:
    """What a changed recipe would keep. `estimated`: tokens that are estimated from the first ones, not counted."""

    groups: Mapping[GroupName, Amount]
    changes: Mapping[ChangeName, Change]
    estimated: int

    def total(self) -> Amount:
        """All groups together."""
        found = Amount()
        for amount in self.groups.values():
            found.add(amount)
        return found


def predict(reader: PartReader, build: BuildParts, then: Mapping[str, Manifest], arrivals: Arrivals) -> Prediction:
    """Compare the outcomes of a build with those of a changed recipe over the same documents.

    `then` are the artifacts of the changed recipe. Memory is that of one shard.
    """
    changed = BuildParts({**build.manifests, **then}, build.sources)
    groups: dict[GroupName, Amount] = {}
    changes: dict[ChangeName, Change] = {}
    for source in build.sources:
        labels = _labels(build, source)
        wanted = {step: [column for other, column in labels.values() if other == step] for step, _ in labels.values()}
        for number, shard in enumerate(judged_shards(reader, build, source, wanted)):
            before = _outcomes(reader, build, source, number)
            after = _outcomes(reader, changed, source, number)
            tokens = shard["tokens"].to_numpy().copy()
            stays = pc.equal(after, KEPT).to_numpy(zero_copy_only=False)
            kept = shard["kept"].to_numpy()
            comes = np.flatnonzero(stays & ~kept)
            tokens[comes] = arrivals.tokens(source, number, comes, changed)
            table = pa.table(
                {
                    **{name: shard[f"{step}.{column}"] for name, (step, column) in labels.items()},
                    "documents": pa.array(kept.astype(np.int64)),
                    "tokens": pa.array(np.where(kept, tokens, 0)),
                    "documents_then": pa.array(stays.astype(np.int64)),
                    "tokens_then": pa.array(np.where(stays, tokens, 0)),
                }
            )
            for row in _sums(table, list(labels), ["documents", "tokens", "documents_then", "tokens_then"]):
                name = GroupName(source, row.pop("language", None), row.pop("bucket", None))
                groups.setdefault(name, Amount()).add(Amount(**row))
            _add_changes(changes, reader, build, source, number, before, after, tokens)
    return Prediction(groups, dict(sorted(changes.items(), key=lambda item: -item[1].documents)), arrivals.estimated)


def _labels(build: BuildParts, source: str) -> dict[str, tuple[str, str]]:
    """The step and column of the last step of a source that gives the language, and of that which gives the bucket."""
    found: dict[str, tuple[str, str]] = {}
    for name, stage, column in (("language", "language", "label"), ("bucket", "perplexity", "bucket")):
        for step in build.steps_of(source, stage)[-1:]:
            found[name] = (step, column)
    return found


def _outcomes(reader: PartReader, build: BuildParts, source: str, shard: int) -> pa.Array:
    content = build.documents(source).parts[shard].content
    table = read_table(reader.path(build.part(source, OUTCOMES, shard)), ["outcome"], about=content)
    return table["outcome"].combine_chunks()


def _sums(table: pa.Table, by: list[str], columns: list[str]) -> list[dict[str, Any]]:
    if not by:
        return [{column: pc.sum(table[column]).as_py() or 0 for column in columns}]
    summed = table.group_by(by).aggregate([(column, "sum") for column in columns])
    return [{name.removesuffix("_sum"): value for name, value in row.items()} for row in summed.to_pylist()]


def _add_changes(
    changes: dict[ChangeName, Change],
    reader: PartReader,
    build: BuildParts,
    source: str,
    shard: int,
    before: pa.Array,
    after: pa.Array,
    tokens: np.ndarray,
) -> None:
    rows = np.flatnonzero(pc.not_equal(before, after).to_numpy(zero_copy_only=False))
    if not rows.size:
        return
    part = build.documents(source).parts[shard]
    ids = read_table(reader.path(part), ["id"])["id"].take(pa.array(rows)).to_pylist()
    pairs = pa.table({"before": before.take(pa.array(rows)), "after": after.take(pa.array(rows))}).to_pylist()
    by_name: dict[ChangeName, list[int]] = {}
    for index, pair in enumerate(pairs):
        by_name.setdefault(ChangeName(source, pair["before"], pair["after"]), []).append(index)
    for name, indices in by_name.items():
        change = changes.setdefault(name, Change())
        change.documents += len(indices)
        change.tokens += int(tokens[rows[indices]].sum())
        change.samples.add((ids[index], Place(source, shard, int(rows[index]))) for index in indices)
