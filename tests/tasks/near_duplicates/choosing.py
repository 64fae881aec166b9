"""Near-duplicates from texts to the choice: signatures, clusters and outcomes, their steps combined in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tasks.corpus.duplicates import DuplicatesStep, Survivors
from tasks.corpus.outcomes import OutcomesConfig, outcomes
from tasks.near_duplicates import near_duplicates
from tasks.near_duplicates.config import NearDuplicateConfig
from tasks.signatures import signatures
from tests.tasks.partitioned import run_partitioned


@dataclass(frozen=True)
class Fate:
    """What became of a document."""

    id: str
    stays: bool
    match: str | None
    similarity: float | None
    cluster: str | None
    words: int | None
    lost: int | None


def fates_of(
    texts: Sequence[str],
    config: NearDuplicateConfig,
    survivors: tuple[Survivors, ...] = ("longest",),
    *,
    size: int = 1000,
    partitions: int = 1,
    **columns: Any,
) -> list[Fate]:
    """The fate of each text in shards of `size` documents. The ids are ``0``, ``1``, …; `columns` replace defaults."""
    count = len(texts)
    filled = {
        "id": [str(number) for number in range(count)],
        "text": pa.array(texts, pa.string()),
        "source": ["s"] * count,
        "date": pa.nulls(count, pa.string()),
        "ids.copy": pa.array([0] * count, pa.int64()),
        "rules.outcome": [""] * count,
        "rules.length": pa.array([len(text.encode()) for text in texts], pa.int64()),
        **columns,
    }
    table = pa.table(filled)
    if config.similarity == "jaccard":
        table = table.append_column("signatures.signature", signatures(table, config.signatures())["signature"])
    shards = [table.slice(start, size) for start in range(0, max(count, 1), size)]
    annotated = []
    for shard, found in zip(shards, run_partitioned(near_duplicates, shards, config, partitions), strict=True):
        for name in found.column_names:
            shard = shard.append_column(f"near_duplicates.{name}", found[name])
        annotated.append(shard)
    step = DuplicatesStep(
        step="near_duplicates", reason="near_duplicate", survivors=survivors, compare=config.comparison()
    )
    result = pa.concat_tables(run_partitioned(outcomes, annotated, OutcomesConfig(duplicates=(step,)), partitions))
    rows = zip(table["id"].to_pylist(), result.to_pylist(), strict=True)
    return [
        Fate(id, row["outcome"] == "", *(row[name] for name in ("match", "similarity", "cluster", "words", "lost")))
        for id, row in rows
    ]
