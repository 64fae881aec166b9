"""Exact duplicates: documents with the same text, of which the corpus keeps one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, partitioned
from infra.tables import stack_rows

EXACT_SCHEMA = pa.schema([pa.field("cluster", pa.string())])


class ExactDuplicatesConfig(StageConfig):
    """`ignore_case_and_space`: texts that differ only in case or in white space are the same too."""

    reason: ClassVar[str] = "exact_duplicate"
    ignore_case_and_space: bool = False


def read_texts(documents: Documents, config: ExactDuplicatesConfig) -> pa.Table:
    """The hash of each text, as `hashes_of` gives it. An empty text has none."""
    texts = documents["text"].to_pylist()
    if config.ignore_case_and_space:
        texts = [" ".join(text.casefold().split()) for text in texts]
    return hashes_of([text or None for text in texts])


def hashes_of(values: Sequence[str | None]) -> pa.Table:
    """A 128-bit hash of each value that is there: columns partition, high, low (uint64) and row (int32)."""
    rows = np.array([row for row, value in enumerate(values) if value is not None], np.int32)
    digests = b"".join(hashlib.sha256(value.encode()).digest()[:16] for value in values if value is not None)
    halves = np.frombuffer(digests, "<u8").reshape(-1, 2)
    return pa.table({"partition": halves[:, 0], "high": halves[:, 0], "low": halves[:, 1], "row": rows})


def find_equal(tables: Iterable[tuple[int, pa.Table]], config: StageConfig) -> pa.Table:
    """The documents whose hash another one has too: columns shard, row (int32), high and low (uint64)."""
    rows = stack_rows(tables, row=np.int32, high=np.uint64, low=np.uint64)
    shard, row, high, low = rows["shard"], rows["row"], rows["high"], rows["low"]
    _, number, count = np.unique(np.stack([high, low], axis=1), axis=0, return_inverse=True, return_counts=True)
    several = count[number.reshape(-1)] > 1 if len(row) else np.empty(0, bool)
    return pa.table({"shard": shard[several], "row": row[several], "high": high[several], "low": low[several]})


def annotate_equal(documents: Documents, rows: pa.Table, config: StageConfig) -> Annotations:
    """``cluster`` (string): the same for documents with the same text, null for a document with a text of its own."""
    names = np.full(documents.num_rows, None, object)
    columns = (rows[name].to_pylist() for name in ("row", "high", "low"))
    for row, high, low in zip(*columns, strict=True):
        names[row] = f"{high:016x}{low:016x}"
    return pa.table([pa.array(names, pa.string())], schema=EXACT_SCHEMA)


def _describe(columns: dict[str, Any]) -> list[str]:
    return ["its text is its own" if columns["cluster"] is None else f"one of those with the text {columns['cluster']}"]


exact_duplicates = partitioned(
    "exact_duplicates",
    version=1,
    config=ExactDuplicatesConfig,
    reference="tasks.exact_duplicates:exact_duplicates",
    schema=EXACT_SCHEMA,
    columns={"map": ["text"], "annotate": ["id"]},
    map=read_texts,
    reduce=find_equal,
    annotate=annotate_equal,
    describe=_describe,
)
