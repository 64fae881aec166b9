"""The index: every id and URL is found, also when several documents share one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.engine.shards import PartReader
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Manifest, store_part
from tasks.corpus.index import IndexConfig, find_documents, hash_name, index

FIRST = pa.table({"id": ["a", "b"], "url": pa.array(["http://x/", None])})
SECOND = pa.table({"id": [f"c{n}" for n in range(20_000)], "url": ["http://x/"] + ["http://y/"] * 19_999})


def stored(lake: Lake, folder: Path, files: dict[str, pa.Table]) -> Manifest:
    """An index of these files."""
    parts = []
    for number, (name, table) in enumerate(files.items()):
        pq.write_table(table, folder / "file", row_group_size=1000)
        parts.append(
            store_part(lake, folder / "file", name=name, rows=len(table), content=f"{number:064}", suffix=".parquet")
        )
    return Manifest("0" * 64, "0" * 64, "index", 2, {}, {}, {}, {}, tuple(parts), Account(), {}, {}, "")


@pytest.mark.parametrize("partitions", [1, 4])
def test_ids_and_urls_lead_to_documents(lake: Lake, tmp_path: Path, partitions: int) -> None:
    config = IndexConfig()
    mapped = [index.steps["map"](table, config) for table in (FIRST, SECOND)]
    files = {}
    for partition in range(partitions):
        inside = [
            (n, rows.filter(pa.array(rows["partition"].to_numpy() % partitions == partition)))
            for n, rows in enumerate(mapped)
        ]
        files[f"index-{partition:05}"] = index.steps["reduce"](inside, config)
    found = stored(lake, tmp_path, files)

    def places(name: str) -> list[tuple[int, int]]:
        return find_documents(PartReader(lake, tmp_path / "cache"), found, [2, 20_000], name)

    assert places("a") == [(0, 0)]
    assert places("b") == [(0, 1)]
    assert places("c19999") == [(1, 19_999)]
    assert places("http://x/") == [(0, 0), (1, 0)]
    assert len(places("http://y/")) == 19_999
    assert places("http://z/") == []


def test_the_index_of_an_older_build_is_read(lake: Lake, tmp_path: Path) -> None:
    names = ["a", "b", "c0"]
    rows = sorted((hash_name(name), number) for number, name in enumerate(names))
    table = pa.table(
        [[key for key, _ in rows], [n for _, n in rows]],
        schema=pa.schema([("key", pa.uint64()), ("document", pa.int64())]),
    )
    old = stored(lake, tmp_path, {"index.parquet": table})
    reader = PartReader(lake, tmp_path / "cache")
    assert [find_documents(reader, old, [2, 20_000], name) for name in names] == [[(0, 0)], [(0, 1)], [(1, 0)]]


def test_an_index_of_nothing_finds_nothing(lake: Lake, tmp_path: Path) -> None:
    nothing = stored(lake, tmp_path, {"index-00000": index.steps["reduce"]([], IndexConfig())})
    assert find_documents(PartReader(lake, tmp_path / "cache"), nothing, [], "a") == []
