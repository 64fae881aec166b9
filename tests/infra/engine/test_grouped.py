"""Grouped stages: where groups end, what an added file makes anew, and what the finish sees."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from infra.engine import fitting
from infra.engine.group_steps import group_step
from infra.engine.grouped import MEAN_SHARDS, MOST_SHARDS, GroupedPlan, groups_of
from infra.engine.kernels import KernelError
from infra.engine.plans import ConfiguredStage, present
from infra.engine.pool import LocalPool
from infra.engine.shards import PartReader
from infra.engine.units import Call, GroupUnit, Shard
from infra.engine.views import View
from infra.store.lake import Lake
from infra.store.manifest import Manifest, Part
from tests.infra.engine import toy
from tests.infra.engine.test_plans import markers, quiet, read_source

FILES = 60


def shard(number: int, rows: int = 1) -> Shard:
    content = hashlib.sha256(str(number).encode()).hexdigest()
    return Shard(Part("0" * 64, 1, rows, content, f"shard {number}", ".parquet"))


def names(shards: list[Shard]) -> list[tuple[str, ...]]:
    return [tuple(one.documents.name for one in group) for group in groups_of(shards)]


def test_groups_are_all_shards_in_order_and_bounded() -> None:
    shards = [shard(number) for number in range(2000)]
    groups = groups_of(shards)
    assert [one for group in groups for one in group] == shards
    assert max(map(len, groups)) <= MOST_SHARDS
    assert 0.8 * MEAN_SHARDS < len(shards) / len(groups) < 1.2 * MEAN_SHARDS
    assert groups_of([]) == []
    # All alike, as shards without documents are.
    assert [len(group) for group in groups_of([shard(0, rows=0)] * 70)] == [32, 32, 6]


@pytest.mark.parametrize("place", [0, 7, 1000, 1999, 2000])
def test_a_new_shard_changes_the_groups_beside_it(place: int) -> None:
    shards = [shard(number) for number in range(2000)]
    before, after = names(shards), names([*shards[:place], shard(5000), *shards[place:]])
    assert len(set(after) - set(before)) <= 3
    assert len(set(before) - set(after)) <= 3


def write_files(folder: Path, numbers: range) -> list[str]:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / f"{number:03d}.txt").write_text(f"text {number}\nmore\n")
    return [str(folder)]


def plan(documents: Manifest, **config: int) -> GroupedPlan:
    return GroupedPlan(ConfiguredStage(toy.write_group, toy.ToyConfig(**config)), (View("toy", documents),))


def texts(lake: Lake, manifest: Manifest) -> dict[str, str]:
    return {part.name: lake.read(part.path).decode() for part in manifest.parts}


def test_each_group_has_its_files_and_the_finish_reads_all(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    first = read_source(lake, pool, write_files(tmp_path / "in", range(FILES)))
    second = read_source(lake, pool, write_files(tmp_path / "more", range(100, 103)))
    views = (View("one", first), View("two", second))
    both = GroupedPlan(ConfiguredStage(toy.write_group, toy.ToyConfig()), views)
    manifest = both.run(lake, pool, quiet)[0]
    found = texts(lake, manifest)
    count = len(groups_of(views[0].shards()))
    assert count > 2
    assert list(found)[:count] == [f"one-{number:05d}.txt" for number in range(count)]
    lines = found["one.all"].splitlines()
    assert [line.partition(":")[0].partition(" of ")[2] for line in lines] == [
        name[:-4] for name in list(found)[:count]
    ]
    assert sum(int(line.split()[0]) for line in lines) == 2 * FILES
    words = " ".join(line.partition(": 0 ")[2] for line in lines)
    assert words == " ".join(f"text {number} more" for number in range(FILES))
    assert "text 100 more" in found["two.all"]
    assert (manifest.account.rows_in, manifest.account.kept) == (2 * FILES + 6, 2 * FILES + 6)
    assert present(lake, both) == [manifest]


def test_an_added_file_makes_the_groups_anew_that_it_touches(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    inputs = write_files(tmp_path / "in", range(1, FILES))
    plan(read_source(lake, pool, inputs)).run(lake, pool, quiet)
    done = markers(lake, "toy_groups")
    assert len(done) > 6
    write_files(tmp_path / "in", range(1))
    grown = plan(read_source(lake, pool, inputs)).run(lake, pool, quiet)[0]
    # The group at the beginning, perhaps a second one, and the finish.
    assert len(markers(lake, "toy_groups") - done) <= 3
    alone = Lake.open(str(tmp_path / "another lake"))
    assert plan(read_source(alone, pool, inputs)).run(alone, pool, quiet)[0].digest == grown.digest


def test_a_group_depends_on_what_its_stage_says(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_files(tmp_path / "in", range(FILES)))
    plan(documents, factor=3).run(lake, pool, quiet)
    done = markers(lake, "toy_groups")
    plan(documents, factor=3, files_per_group=7).run(lake, pool, quiet)
    assert len(markers(lake, "toy_groups") - done) == 1, "only the finish reads it"
    found = texts(lake, plan(documents, factor=3).run(lake, pool, quiet)[0])
    before = 0
    for group, text in zip(groups_of(View("toy", documents).shards()), found.values(), strict=False):
        assert text.split()[0] == str(before % 3)
        before += sum(one.documents.rows for one in group)


def test_documents_left_unread_are_an_error(
    lake: Lake, pool: LocalPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = read_source(lake, pool, write_files(tmp_path / "in", range(2)))
    floored = tuple((one, ()) for one in View("toy", documents).shards())
    lazy = replace(toy.write_group, kernel=lambda documents, config, folder, place: {})
    monkeypatch.setattr(fitting, "stage_and_config", lambda call: (lazy, toy.ToyConfig()))
    unit = GroupUnit(lake, Call("toy", "{}", "0" * 64), floored, 0)
    with pytest.raises(KernelError, match="read 0 of 4 documents"):
        group_step(unit, PartReader(lake, tmp_path), tmp_path)
