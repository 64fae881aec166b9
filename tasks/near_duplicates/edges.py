"""Edges between near-duplicates: candidate pairs with the exact Jaccard index of their texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.near_duplicates.candidates import NearDuplicateConfig
from tasks.text.shingles import count_common, shingle_set

EDGE_SCHEMA = pa.schema(
    [
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("other_shard", pa.int32(), nullable=False),
        pa.field("other_row", pa.int32(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("other_id", pa.string(), nullable=False),
        pa.field("jaccard", pa.float64(), nullable=False),
        pa.field("verified", pa.bool_(), nullable=False),
    ]
)


def verify(pairs: pa.Table, documents: Callable[[int], pa.Table], config: NearDuplicateConfig) -> pa.Table:
    """Compute the exact Jaccard index of every candidate pair of one left shard.

    `pairs` has the columns of ``PAIR_SCHEMA``, all with the same `shard`; a pair from several partitions counts once.
    `documents` returns the columns id and text of a shard, given its number. It is called once per shard; two shards
    are in memory at a time. The index is |A ∩ B| / |A ∪ B| over the sets of `tasks.text.shingles`, rounded to 6
    decimals. `verified` is true if the unrounded index is at least `threshold`. Rejected candidates stay in the table
    as evidence; only verified pairs are edges. Columns as in `EDGE_SCHEMA`, sorted by row, other_shard, other_row.

    Raises ValueError for pairs of several left shards, and for rows that a shard does not have.
    """
    pairs = pairs.group_by(["shard", "row", "other_shard", "other_row"]).aggregate([])
    pairs = pairs.sort_by([(name, "ascending") for name in ("row", "other_shard", "other_row")])
    shards = pc.unique(pairs.column("shard")).to_pylist()
    if len(shards) > 1:
        raise ValueError(f"verify accepts pairs of one left shard per call, not of shards {sorted(shards)}")
    if not shards:
        return EDGE_SCHEMA.empty_table()
    left_rows = pairs.column("row").to_numpy()
    right_shards = pairs.column("other_shard").to_numpy()
    right_rows = pairs.column("other_row").to_numpy()
    inside = right_shards == shards[0]
    left = _Shingled(shards[0], documents(shards[0]), np.r_[left_rows, right_rows[inside]], config.shingle_words)
    jaccard = np.empty(len(pairs), np.float64)
    other_ids = np.empty(len(pairs), object)
    for shard in np.unique(right_shards).tolist():
        chosen = np.flatnonzero(right_shards == shard)
        right = left
        if shard != shards[0]:
            right = _Shingled(shard, documents(shard), right_rows[chosen], config.shingle_words)
        for pair, row, other_row in _triples(chosen, left_rows[chosen], right_rows[chosen]):
            jaccard[pair] = _jaccard(left.sets[row], right.sets[other_row])
            other_ids[pair] = right.ids[other_row]
    return pa.table(
        {
            "shard": pairs.column("shard"),
            "row": pairs.column("row"),
            "other_shard": pairs.column("other_shard"),
            "other_row": pairs.column("other_row"),
            "id": pa.array([left.ids[row] for row in left_rows.tolist()], pa.string()),
            "other_id": pa.array(other_ids, pa.string()),
            "jaccard": pa.array(np.round(jaccard, 6)),
            "verified": pa.array(jaccard >= config.threshold),
        },
        schema=EDGE_SCHEMA,
    )


class _Shingled:
    """The ids and shingle sets of some rows of a shard, by row. It does not hold the rest of the shard."""

    def __init__(self, shard: int, documents: pa.Table, rows: np.ndarray, words: int) -> None:
        rows = np.unique(rows)
        if rows[-1] >= documents.num_rows or rows[0] < 0:
            raise ValueError(
                f"a candidate pair names row {rows[-1]} of shard {shard}, which has {documents.num_rows} documents: "
                "the candidates are of other documents, so compute the bands of this shard again"
            )
        needed = documents.select(["id", "text"]).take(pa.array(rows))
        self.ids: dict[int, str] = {}
        self.sets: dict[int, np.ndarray] = {}
        for row, id, text in zip(rows.tolist(), needed.column("id"), needed.column("text"), strict=True):
            self.ids[row] = id.as_py()
            self.sets[row] = shingle_set(text.as_py(), words)


def _triples(pairs: np.ndarray, rows: np.ndarray, other_rows: np.ndarray) -> Iterator[tuple[int, int, int]]:
    return zip(pairs.tolist(), rows.tolist(), other_rows.tolist(), strict=True)


def _jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """|A ∩ B| / |A ∪ B| of two ascending arrays of distinct values; 0 when both are empty."""
    common = count_common(left, right)
    union = len(left) + len(right) - common
    return common / union if union else 0.0
