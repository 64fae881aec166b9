"""The index: every id and URL is found, also when several documents share one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tasks.index import IndexConfig, build_index, find_documents


def test_ids_and_urls_lead_to_documents(tmp_path: Path) -> None:
    first = pa.table({"id": ["a", "b"], "url": pa.array(["http://x/", None])})
    second = pa.table({"id": [f"c{n}" for n in range(20_000)], "url": ["http://x/"] + ["http://y/"] * 19_999})
    index = build_index(iter([first, second]), IndexConfig(), tmp_path)["index.parquet"]
    assert find_documents(index, "a") == [0]
    assert find_documents(index, "b") == [1]
    assert find_documents(index, "c19999") == [20_001]
    assert find_documents(index, "http://x/") == [0, 2]
    assert len(find_documents(index, "http://y/")) == 19_999
    assert find_documents(index, "http://z/") == []


def test_an_index_of_nothing_finds_nothing(tmp_path: Path) -> None:
    index = build_index(iter([]), IndexConfig(), tmp_path)["index.parquet"]
    assert find_documents(index, "a") == []
