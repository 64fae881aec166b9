"""Rows between steps: slices of files, files merged in bounded memory, and what a flow holds of many shards."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.engine import partitioned, shuffle
from infra.engine.partitioned import PartitionedPlan
from infra.engine.plans import ConfiguredStage
from infra.engine.pool import LocalPool
from infra.engine.shuffle import by_giver, merge_rows, read_slice, store_rows
from infra.engine.units import MapUnit, MergeUnit, ReduceUnit, WorkUnit
from infra.engine.views import View
from infra.store.digests import sha256_bytes
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Manifest, Marker, Part
from tests.infra.engine import toy
from tests.infra.engine.test_fit_groups import Watched
from tests.infra.engine.test_plans import CONFIG, quiet, read_source, rows, write_inputs


def stored(lake: Lake, folder: Path, numbers: Sequence[int], targets: Sequence[int]) -> Path:
    table = pa.table({"n": pa.array(numbers, pa.int64())})
    part, _ = store_rows(lake, folder / "rows.parquet", table, np.array(targets, np.int64), "rows", digests=False)
    return Path(lake.uri, part.path)


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_merged_slices_have_the_rows_of_all_files_by_giver(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(shuffle, "_MERGED_ROWS", at_once)
    monkeypatch.setattr(shuffle, "_ROW_GROUP_ROWS", 2)
    random = np.random.default_rng(7)
    given = []
    expected: dict[int, list[tuple[int, list[int]]]] = {}
    for number in range(5):
        targets = random.integers(0, 6, 0 if number == 2 else 20)
        values = random.integers(0, 100, len(targets))
        given.append((number, stored(lake, tmp_path, values.tolist(), targets.tolist())))
        for target in np.unique(targets).tolist():
            expected.setdefault(target, []).append((number, values[targets == target].tolist()))

    def merged(some: Sequence[tuple[int, Path]]) -> tuple[Path, dict[str, str]]:
        part, slices = merge_rows(lake, tmp_path / "merged.parquet", some, "merged", digests=True)
        return Path(lake.uri, part.path), slices

    whole, slices = merged(given)
    assert {int(target) for target in slices} == {*expected}
    twice, again = merged([(0, merged(given[:2])[0]), (1, merged(given[2:])[0])])
    assert again == slices, "a merge of merges is the merge of all"
    for path in (whole, twice):
        for target in range(7):
            found = [(number, table["n"].to_pylist()) for number, table in by_giver(0, read_slice(path, target))]
            assert found == expected.get(target, [])


def test_a_small_slice_costs_one_group_of_rows(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = np.arange(200_000) % 5000
    path = stored(lake, tmp_path, range(200_000), targets.tolist())
    read: list[int] = []
    real = pq.ParquetFile.read_row_groups

    def watched(file: Any, groups: list[int]) -> pa.Table:
        read.extend(file.metadata.row_group(group).num_rows for group in groups)
        return real(file, groups)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", watched)
    assert read_slice(path, 17)["n"].to_pylist() == list(range(17, 200_000, 5000))
    assert sum(read) <= 1 << 13
    assert pq.ParquetFile(path).num_row_groups <= 25, "as many slices make no more groups, which every reader parses"


@pytest.mark.parametrize("name", [b"millrace.targets", b"millrace.ends"])
@pytest.mark.parametrize("value", [None, b"?", b"AAAA", b"AAAAAAAAAAA=" * 2])
def test_a_file_that_lies_about_its_slices_is_corrupt(
    lake: Lake, tmp_path: Path, name: bytes, value: bytes | None
) -> None:
    path = stored(lake, tmp_path, range(9), [0, 1, 2] * 3)
    file = pq.ParquetFile(path)
    metadata = {key: text for key, text in file.metadata.metadata.items() if key != b"ARROW:schema"}
    metadata.pop(name)
    if value is not None:
        metadata[name] = value
    changed = tmp_path / "changed.parquet"
    pq.write_table(file.read().replace_schema_metadata(metadata), changed)
    with pytest.raises(Corrupt, match="slices"):
        read_slice(changed, 1)


@pytest.mark.parametrize("most", [2, 3])
def test_merges_change_no_result(
    lake: Lake, pool: LocalPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    inputs = write_inputs(tmp_path / "in", files=7)
    for stage in (toy.letter_counts, toy.word_counts):
        plan = PartitionedPlan(ConfiguredStage(stage, CONFIG), (View("toy", read_source(lake, pool, inputs)),), 4)
        [alone] = plan.run(lake, pool, quiet)
        other = Lake.open(str(tmp_path / f"other {stage.name}"))
        documents = read_source(other, pool, inputs)
        watched = Watched(pool)
        monkeypatch.setattr(partitioned, "MOST_GIVEN", most)
        again = PartitionedPlan(plan.configured, (View("toy", documents),), 4)
        [merged] = again.run(other, watched, quiet)  # type: ignore[arg-type]
        monkeypatch.undo()
        assert any(isinstance(unit, MergeUnit) for unit in watched.units)
        reduces = [unit for unit in watched.units if isinstance(unit, ReduceUnit)]
        assert max(len(unit.inputs) for unit in reduces) <= most
        assert (merged.key, merged.digest, merged.account) == (alone.key, alone.digest, alone.account)
        assert rows(other, tmp_path, merged) == rows(lake, tmp_path, alone)


class Scripted:
    """An engine that computes nothing: each unit gives a part with rows for every partition or shard.

    Counts the digests by slice in the flow, the most at once, and the files that units read.
    """

    def __init__(self, shards: int) -> None:
        self._shards = shards
        self.most = 0
        self.inputs = 0

    def run(self, units: Sequence[WorkUnit], progress: Callable[[int, int], None]) -> list[dict[str, Marker]]:
        done = []
        for unit in units:
            targets = 0
            if isinstance(unit, MapUnit | ReduceUnit | MergeUnit) and unit.digests:
                partitions = getattr(unit, "partitions", None)
                targets = partitions or self._targets
            if isinstance(unit, MapUnit):
                self._targets = unit.partitions
            if isinstance(unit, ReduceUnit):
                self._targets = unit.partitions or self._shards
            name = sha256_bytes(unit.call.key.encode())  # type: ignore[union-attr]
            part = Part(name, 1, 1, name, "rows", ".parquet")
            slices = {str(target): name for target in range(targets)}
            done.append({unit.call.key: Marker(unit.call.key, (part,), Account(), 0.0, slices)})  # type: ignore[union-attr]
            self.inputs += len(getattr(unit, "inputs", ())) + len(getattr(unit, "rows", ()))
        gc.collect()
        self.most = max(self.most, sum(len(one.slices) for one in gc.get_objects() if type(one) is Marker))
        return done


def many_shards(count: int) -> Manifest:
    parts = [Part(sha256_bytes(b"%d" % n), 1, 8, sha256_bytes(b"%d" % n), f"{n}", ".parquet") for n in range(count)]
    return Manifest(
        **{"key": "0" * 64, "digest": "0" * 64, "stage": "toy", "version": 1, "config": {}, "inputs": {}},
        **{"libraries": {}, "models": {}, "parts": tuple(parts), "account": Account(), "details": {}, "cost": {}},
        created="",
    )


def test_what_the_flow_holds_grows_with_shards_and_partitions_and_not_with_their_product(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitioned, "MOST_GIVEN", 4)
    held = []
    for shards in (64, 256):
        engine = Scripted(shards)
        # As many partitions as shards: 8 documents in each.
        plan = PartitionedPlan(ConfiguredStage(toy.word_counts, CONFIG), (View("toy", many_shards(shards)),), 8)
        plan.run(lake, engine, quiet)
        held.append((engine.most, engine.inputs))
    for few, many in zip(*held, strict=True):
        assert 0 < many <= 4 * few * 1.1
