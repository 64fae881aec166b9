"""Clusters of near-duplicates: the connected components of verified edges, and each document's best match."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from infra.documents import Annotations, Documents
from tasks.near_duplicates.candidates import NearDuplicateConfig

MEMBER_SCHEMA = pa.schema(
    [
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("cluster", pa.string(), nullable=False),
        pa.field("size", pa.int32(), nullable=False),
        pa.field("match", pa.string(), nullable=False),
        pa.field("jaccard", pa.float64(), nullable=False),
    ]
)
NEAR_DUPLICATE_SCHEMA = pa.schema(
    [
        pa.field("cluster", pa.string()),
        pa.field("size", pa.int32()),
        pa.field("match", pa.string()),
        pa.field("jaccard", pa.float64()),
    ]
)


def cluster(edges: Iterable[pa.Table], config: NearDuplicateConfig) -> pa.Table:
    """The members of all clusters: the connected components of the verified edges.

    `edges` are tables with ``EDGE_SCHEMA``, in any order; unverified edges are ignored. The result has the columns of
    `MEMBER_SCHEMA`, sorted by shard and row:

    - ``cluster``: the least id among the members, by Unicode code points. If another cluster has the same id, which
      needs two documents with one id, both names get the suffix " (shard S, row R)" of their first member with that id;
    - ``size``: the number of members;
    - ``match``, ``jaccard``: the neighbour with the highest Jaccard index (ties: the least id), and that index.
    """
    kept = [table.filter(table.column("verified")) for table in edges]
    if not any(table.num_rows for table in kept):
        return MEMBER_SCHEMA.empty_table()
    table = pa.concat_tables(kept)
    ends = np.r_[_documents(table, "shard", "row"), _documents(table, "other_shard", "other_row")]
    names, first, nodes = np.unique(ends, return_index=True, return_inverse=True)
    ids = pa.chunked_array(table.column("id").chunks + table.column("other_id").chunks).take(pa.array(first))
    ids = ids.combine_chunks()
    rank = pc.rank(ids, tiebreaker="min").to_numpy().astype(np.int64)
    label, lead, size = _components(nodes, rank, len(names))
    match, jaccard = _best_matches(nodes, rank, table.column("jaccard").to_numpy(), len(names))
    return pa.table(
        {
            "shard": (names >> 32).astype(np.int32),
            "row": (names & 0xFFFFFFFF).astype(np.int32),
            "id": ids,
            "cluster": _name(ids, names, rank, lead).take(pa.array(label)),
            "size": size[label].astype(np.int32),
            "match": ids.take(pa.array(match)),
            "jaccard": jaccard,
        },
        schema=MEMBER_SCHEMA,
    )


def annotate_clusters(documents: Documents, rows: pa.Table, config: NearDuplicateConfig) -> Annotations:
    """Annotate a shard: columns as in `NEAR_DUPLICATE_SCHEMA`, null for a document in no cluster.

    `rows` are the members from `cluster` in this shard. Raises ValueError if the document at a row has another id.
    """
    at = rows.column("row").to_numpy()
    if len(at) and (at.max() >= documents.num_rows or at.min() < 0):
        raise ValueError(f"row {at.max()} is in a cluster, but the shard has only {documents.num_rows} documents")
    held = documents.column("id").take(pa.array(at))
    for row, id, other in zip(at.tolist(), rows.column("id").to_pylist(), held.to_pylist(), strict=True):
        if id != other:
            raise ValueError(
                f"row {row} is the document {other!r}, but its cluster was computed for {id!r}: "
                "the documents changed, so compute the near-duplicates again"
            )
    index = np.full(documents.num_rows, -1, np.int64)
    index[at] = np.arange(len(at))
    taken = pa.array(index, mask=index < 0)
    return rows.select(NEAR_DUPLICATE_SCHEMA.names).take(taken).cast(NEAR_DUPLICATE_SCHEMA)


def describe_cluster(columns: dict[str, Any]) -> list[str]:
    """Describe the columns of one document in words."""
    if columns["cluster"] is None:
        return ["no near-duplicate was found"]
    return [
        f"one of {columns['size']} in the cluster {columns['cluster']}",
        f"closest: {columns['match']}, Jaccard {columns['jaccard']}",
    ]


def _documents(table: pa.Table, shard: str, row: str) -> np.ndarray:
    return (table.column(shard).to_numpy().astype(np.int64) << 32) | table.column(row).to_numpy().astype(np.int64)


def _components(nodes: np.ndarray, rank: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per node, the number of its component; per component, the node of the least rank, and the size.

    `nodes` holds the left ends of all edges, then the right ends. Components are numbered by their first node.
    """
    left, right = np.split(nodes, 2)
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(count, count))
    components, found = connected_components(graph, directed=False)
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    label = np.argsort(np.argsort(first))[inverse]
    order = np.lexsort((np.arange(count), rank, label))
    lead = order[np.flatnonzero(np.r_[True, np.diff(label[order]) > 0])]
    return label, lead, np.bincount(label, minlength=components)


def _best_matches(
    nodes: np.ndarray, rank: np.ndarray, jaccard: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Per node, the neighbour with the highest Jaccard index, and the index. Ties: least id, then least position."""
    left, right = np.split(nodes, 2)
    node, neighbour, index = np.r_[left, right], np.r_[right, left], np.r_[jaccard, jaccard]
    order = np.lexsort((neighbour, rank[neighbour], -index, node))
    best = order[np.flatnonzero(np.r_[True, np.diff(node[order]) > 0])]
    return neighbour[best], index[best]


def _name(ids: pa.Array, names: np.ndarray, rank: np.ndarray, lead: np.ndarray) -> pa.Array:
    """Per component, its name: the id of its lead, followed by the lead's location if several leads share the id."""
    ranks, counts = np.unique(rank[lead], return_counts=True)
    shared = np.isin(rank[lead], ranks[counts > 1])
    return pa.array(
        [
            f"{id} (shard {int(name) >> 32}, row {int(name) & 0xFFFFFFFF})" if several else id
            for id, name, several in zip(ids.take(pa.array(lead)).to_pylist(), names[lead], shared, strict=True)
        ],
        pa.string(),
    )
