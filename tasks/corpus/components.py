"""Clusters: what a chain of links connects, found in partitions.

Each step sees the rows of one partition, some 40 bytes a link in memory. Links travel as stars: from
every document to the first of its cluster that is known so far. In each round a partition sees all links of its
documents and points them at the first document that these reach, so that the paths between documents at least halve
(after Kiveris, Lattanzi, Mirrokni, Rastogi, Vassilvitskii, Connected Components in MapReduce and Beyond, 2014). When a
round changes nothing, every document points at the first of its cluster.

Rows have the columns partition, node, other (uint64) and place (int64). A link has its two documents as `node` and
`other` and the place -1; it is there once from each end. A row with `node` = `other` says where the document is:
shard · 2³² + row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from infra.stage import StageConfig
from infra.tables import stack_rows

_LINK = -1


def hash_name(name: str) -> int:
    """The node of a name: the first 8 bytes of its SHA-256, little-endian."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def link_rows(nodes: np.ndarray, firsts: np.ndarray, names: np.ndarray, places: np.ndarray) -> pa.Table:
    """The rows of links from each of `nodes` to one of `firsts`, and of the documents `names` at `places`.

    Repeated links and documents count once; a link from a node to itself is none.
    """
    names, places = _distinct(names, places)
    linked = nodes != firsts
    pairs = np.unique(np.stack([nodes[linked], firsts[linked]], axis=1), axis=0)
    node = np.concatenate([pairs[:, 0], pairs[:, 1], names])
    other = np.concatenate([pairs[:, 1], pairs[:, 0], names])
    place = np.concatenate([np.full(2 * len(pairs), _LINK, np.int64), places])
    return pa.table({"partition": node, "node": node, "other": other, "place": place})


def shorten(tables: Iterable[tuple[int, pa.Table]], config: StageConfig) -> pa.Table:
    """Point every document of a partition at the first document, by name, that its links reach."""
    # Local imports: every command that reads a recipe imports this module, and scipy takes a third of a second.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    node, other, place = _columns(tables)
    link = place == _LINK
    nodes = np.unique(np.r_[node[link], other[link]])
    left, right = np.searchsorted(nodes, node[link]), np.searchsorted(nodes, other[link])
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(nodes), len(nodes)))
    count, label = connected_components(graph, directed=False)
    # Nodes ascend, so the first of a component is its least.
    _, least = np.unique(label, return_index=True)
    return link_rows(nodes, nodes[least][label], node[~link], place[~link])


def place_members(tables: Iterable[tuple[int, pa.Table]], config: StageConfig) -> pa.Table:
    """The members of clusters: columns shard, row (int32) and cluster (uint64), the first member by name."""
    node, other, place = _columns(tables)
    link = place == _LINK
    upward = link & (other < node)
    names, places = _distinct(node[~link], place[~link])
    order = np.argsort(node[upward])
    known, first = node[upward][order], other[upward][order]
    at = np.minimum(np.searchsorted(known, names), max(len(known) - 1, 0))
    cluster = names.copy()
    if len(known):
        found = known[at] == names
        cluster[found] = first[at[found]]
    order = np.argsort(places)
    return pa.table(
        {
            "shard": (places[order] >> 32).astype(np.int32),
            "row": (places[order] & 0xFFFFFFFF).astype(np.int32),
            "cluster": cluster[order],
        }
    )


def _columns(tables: Iterable[tuple[int, pa.Table]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = stack_rows(tables, node=np.uint64, other=np.uint64, place=np.int64)
    return rows["node"], rows["other"], rows["place"]


def _distinct(names: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each document once, by place. Two documents whose names collide both stay."""
    places, first = np.unique(places, return_index=True)
    return names[first], places
