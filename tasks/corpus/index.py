"""The index of documents: leads from an id or a URL to the document, for every document that was read.

It has a file for each partition of hashes, so a look-up reads a few row groups of one of them.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.engine.shards import PartReader
from infra.stage import StageConfig, partitioned
from infra.store.manifest import Manifest
from infra.tables import places_of, stack_rows

INDEX_SCHEMA = pa.schema([("key", pa.uint64()), ("place", pa.int64())])
_OLD_FILE = "index.parquet"  # of builds before 2026-11-29: one file, with the number of each document over all shards


class IndexConfig(StageConfig):
    """An index depends on the documents only."""


def read_names(documents: pa.Table, config: IndexConfig) -> pa.Table:
    """The hash of the id and of the URL of each document: columns partition and key (uint64), and row (int32)."""
    keys: list[int] = []
    rows: list[int] = []
    for row, names in enumerate(zip(documents["id"].to_pylist(), documents["url"].to_pylist(), strict=True)):
        for name in filter(None, names):
            keys.append(hash_name(name))
            rows.append(row)
    hashes = pa.array(np.array(keys, np.uint64))
    return pa.table({"partition": hashes, "key": hashes, "row": pa.array(np.array(rows, np.int32))})


def sort_names(tables: Iterable[tuple[int, pa.Table]], config: IndexConfig) -> pa.Table:
    """The entries of one partition by hash; ``place`` is shard · 2³² + row, with shards counted over all sources."""
    rows = stack_rows(tables, key=np.uint64, row=np.int32)
    key, place = rows["key"], places_of(rows)
    order = np.lexsort((place, key))
    return pa.table([pa.array(key[order]), pa.array(place[order])], schema=INDEX_SCHEMA)


index = partitioned(
    "index",
    version=2,
    config=IndexConfig,
    reference="tasks.corpus.index:index",
    columns={"map": ["id", "url"]},
    map=read_names,
    reduce=sort_names,
)


def find_documents(reader: PartReader, found: Manifest, rows: Sequence[int], name: str) -> list[tuple[int, int]]:
    """The places (shard, row) of the documents whose id or URL may be `name`. Hashes can collide: check the documents.

    `rows` are the rows of all shards of the build, in order.
    """
    key = hash_name(name)
    [*parts] = found.parts
    part = parts[key % len(parts)]
    entries = pq.read_table(reader.path(part), filters=pc.field("key") == pa.scalar(key, pa.uint64()))
    if part.name == _OLD_FILE:
        ends = list(accumulate(rows))
        numbers = sorted(set(entries["document"].to_pylist()))
        shards = [bisect_right(ends, number) for number in numbers]
        return [(shard, number - (ends[shard] - rows[shard])) for shard, number in zip(shards, numbers, strict=True)]
    return [(place >> 32, place & 0xFFFFFFFF) for place in sorted(set(entries["place"].to_pylist()))]


def hash_name(name: str) -> int:
    """The first eight bytes of the SHA-1 of `name`, as an unsigned little-endian integer."""
    return int.from_bytes(hashlib.sha1(name.encode()).digest()[:8], "little")
