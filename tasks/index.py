"""The index of documents: maps an id or a URL to the document's number, for every document that was read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.stage import StageConfig, StageKind, stage

INDEX_FILE = "index.parquet"
INDEX_SCHEMA = pa.schema([("key", pa.uint64()), ("document", pa.int64())])
_ROW_GROUP_ROWS = 8192


class IndexConfig(StageConfig):
    """An index depends on the documents only."""


@stage("index", version=1, kind=StageKind.fit, config=IndexConfig, libraries=["pyarrow"], columns=["id", "url"])
def build_index(documents: Iterator[pa.Table], config: IndexConfig, folder: Path) -> dict[str, Path]:
    """Write one sorted file of (hash of id or URL, number of the document in the order of shards and rows).

    Row groups are small and store their range of hashes, so a look-up reads one or two of them.
    """
    keys: list[int] = []
    numbers: list[int] = []
    number = 0
    for table in documents:
        for identity, url in zip(table["id"].to_pylist(), table["url"].to_pylist(), strict=True):
            keys.append(hash_name(identity))
            numbers.append(number)
            if url:
                keys.append(hash_name(url))
                numbers.append(number)
            number += 1
    index = pa.table([pa.array(keys, pa.uint64()), pa.array(numbers, pa.int64())], schema=INDEX_SCHEMA)
    path = folder / INDEX_FILE
    pq.write_table(
        index.sort_by([("key", "ascending"), ("document", "ascending")]), path, row_group_size=_ROW_GROUP_ROWS
    )
    return {INDEX_FILE: path}


def find_documents(index: Path, name: str) -> list[int]:
    """The numbers of the documents whose id or URL may be `name`. Hashes can collide, so check the documents."""
    key = pa.scalar(hash_name(name), pa.uint64())
    found = pq.read_table(index, filters=pc.field("key") == key)
    return sorted(set(found["document"].to_pylist()))


def hash_name(name: str) -> int:
    """The first eight bytes of the SHA-1 of `name`, as an unsigned little-endian integer."""
    return int.from_bytes(hashlib.sha1(name.encode()).digest()[:8], "little")
