"""Which documents repeat an id: settled before anything compares documents, so that a copy costs only itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from infra.stage import StageConfig, partitioned
from infra.tables import stack_rows

IDS = "ids"
IDS_SCHEMA = pa.schema([("copy", pa.int64())])


class IdsConfig(StageConfig):
    """Nothing can be set."""


def read_ids(documents: pa.Table, config: IdsConfig) -> pa.Table:
    """A 128-bit hash of the id of each document: columns partition, high, low (uint64) and row (int32).

    Two ids of a trillion have the same hash with a probability of 10⁻¹⁵.
    """
    digests = b"".join(hashlib.sha256(identity.encode()).digest()[:16] for identity in documents["id"].to_pylist())
    halves = np.frombuffer(digests, "<u8").reshape(-1, 2)
    rows = np.arange(documents.num_rows, dtype=np.int32)
    return pa.table({"partition": halves[:, 0], "high": halves[:, 0], "low": halves[:, 1], "row": rows})


def find_copies(tables: Iterable[tuple[int, pa.Table]], config: IdsConfig) -> pa.Table:
    """The documents with the id of an earlier one: columns shard, row, and copy, the number of those before it."""
    rows = stack_rows(tables, row=np.int32, high=np.uint64, low=np.uint64)
    shard, row, high, low = rows["shard"], rows["row"], rows["high"], rows["low"]
    # Stable, so that documents of one id stay in the order of shards and rows.
    order = np.lexsort((np.arange(len(row)), low, high))
    places = np.arange(len(order))
    starts = np.ones(len(order), bool)
    starts[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
    copies = places - np.maximum.accumulate(np.where(starts, places, 0))
    found = np.sort(order[copies > 0])
    number = np.empty(len(order), np.int64)
    number[order] = copies
    return pa.table({"shard": shard[found], "row": row[found], "copy": number[found]})


def annotate_copies(documents: pa.Table, rows: pa.Table, config: IdsConfig) -> pa.Table:
    """``copy``: how many documents before this one, in the order of sources and shards, have its id."""
    copies = np.zeros(documents.num_rows, np.int64)
    copies[rows["row"].to_numpy()] = rows["copy"].to_numpy()
    return pa.table([pa.array(copies)], schema=IDS_SCHEMA)


ids = partitioned(
    IDS,
    version=2,
    config=IdsConfig,
    reference="tasks.corpus.ids:ids",
    schema=IDS_SCHEMA,
    columns={"map": ["id"], "annotate": ["id"]},
    map=read_ids,
    reduce=find_copies,
    annotate=annotate_copies,
)
