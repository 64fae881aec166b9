"""Links between documents that share a key."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from infra.tables import places_of, stack_rows
from tasks.corpus.components import link_rows
from tasks.near_duplicates.config import NearDuplicateConfig


def link_buckets(tables: Iterable[tuple[int, pa.Table]], config: NearDuplicateConfig) -> pa.Table:
    """Link the documents that share a key to the first of them, by name. `tables` yields (shard, rows of `map_keys`).

    A bucket of n documents gives n - 1 links, however many pairs it has.
    """
    rows = stack_rows(tables, key=np.uint64, name=np.uint64, row=np.int32)
    keys, names, places = rows["key"], rows["name"], places_of(rows)
    order = np.lexsort((names, keys))
    keys, names, places = keys[order], names[order], places[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, len(keys)])
    shared = np.repeat(sizes > 1, sizes)
    first = np.repeat(names[starts], sizes)[shared]
    names, places = names[shared], places[shared]
    return link_rows(names, first, names, places)
