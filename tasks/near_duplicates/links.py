"""Links between documents that share a key."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from tasks.corpus.components import link_rows
from tasks.near_duplicates.config import NearDuplicateConfig


def link_buckets(tables: Iterable[tuple[int, pa.Table]], config: NearDuplicateConfig) -> pa.Table:
    """Link the documents that share a key to the first of them, by name. `tables` yields (shard, rows of `map_keys`).

    A bucket of n documents gives n - 1 links, however many pairs it has.
    """
    keys, names, places = _gather(tables)
    order = np.lexsort((names, keys))
    keys, names, places = keys[order], names[order], places[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, len(keys)])
    shared = np.repeat(sizes > 1, sizes)
    first = np.repeat(names[starts], sizes)[shared]
    names, places = names[shared], places[shared]
    return link_rows(names, first, names, places)


def _gather(tables: Iterable[tuple[int, pa.Table]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    keys, names, places = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for shard, table in tables:
        keys.append(table["key"].to_numpy())
        names.append(table["name"].to_numpy())
        places.append(table["row"].to_numpy().astype(np.int64) + (shard << 32))
    return np.concatenate(keys), np.concatenate(names), np.concatenate(places)
