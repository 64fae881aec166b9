"""The benchmark of growth: its inputs, what it counts, and its verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.bench.scale import Cost, build, check, write_lines

COST = Cost(2000, 1960, 40, 24, 17_000_000, 6_000_000, 15.0, 16.0, 22.0, 500.0, 450.0)


def test_growth_of_n_log_n_is_allowed_and_more_is_told() -> None:
    ten = replace(COST, documents=20_000, units=66, lake_bytes=175_000_000, worker_seconds=170.0)
    assert check([COST, ten]) == []
    assert check([COST, replace(ten, worker_seconds=400.0, worker_peak=4500.0)]) == [
        "worker_seconds: 26.7 times for 10 times the documents",
        "worker_peak: 10.0 times",
    ]


def test_documents_are_written_once_and_the_same_each_time(tmp_path: Path) -> None:
    size = write_lines(tmp_path, 300)
    lines = [json.loads(line) for line in (tmp_path / "000000000.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [str(number) for number in range(300)]
    assert size == sum(len(line["text"].encode()) for line in lines)
    again = tmp_path / "again"
    again.mkdir()
    assert write_lines(again, 300) == size
    assert lines[149]["text"].startswith(lines[124]["text"])


def test_a_small_build_is_counted(tmp_path: Path) -> None:
    cost = build(300, 2, tmp_path)
    assert (cost.documents, cost.near_duplicates) == (300, 6), "three edited copies, and three of the first document"
    assert cost.kept == 294 and cost.units > 10
    assert cost.worker_seconds > 0 and cost.worker_peak > 0 and cost.lake_bytes > cost.text_bytes
