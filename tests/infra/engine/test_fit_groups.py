"""Fits by groups: the artifact of the one process, made in parallel; a new file costs the groups that it touches."""

from __future__ import annotations

from pathlib import Path

from infra.engine.fit_groups import FitGroupsPlan
from infra.engine.plans import ConfiguredStage, FitPlan, PassPlan
from infra.engine.pool import LocalPool
from infra.engine.units import FitGroupUnit, Floor
from infra.engine.views import Annotation, View
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from tests.infra.engine import toy
from tests.infra.engine.test_plans import CONFIG, quiet, read_source, write_inputs

STAGE = ConfiguredStage(toy.fit_by_initial, CONFIG)


class Watched:
    """The pool, and the units that were asked of it."""

    def __init__(self, pool: LocalPool) -> None:
        self.pool = pool
        self.units: list[object] = []

    def run(self, units: object, progress: object) -> object:
        self.units += units  # type: ignore[arg-type]
        return self.pool.run(units, progress)  # type: ignore[arg-type]


def fitted(lake: Lake, pool: LocalPool, documents: Manifest) -> Manifest:
    return FitGroupsPlan(STAGE, (View("toy", documents),)).run(lake, pool, quiet)[0]


def contents(lake: Lake, manifest: Manifest) -> dict[str, str]:
    return {part.name: Path(lake.uri, part.path).read_text() for part in manifest.parts}


def test_it_gives_what_one_process_gives(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    groups = fitted(lake, pool, documents)
    other = Lake.open(str(tmp_path / "other"))
    again = read_source(other, pool, [str(tmp_path / "in")])
    [alone] = FitPlan(STAGE, (View("toy", again),)).run(other, pool, quiet)
    assert (groups.key, groups.digest, groups.account) == (alone.key, alone.digest, alone.account)
    assert contents(lake, groups) == contents(other, alone)
    assert contents(lake, groups)["counts.txt"] == "c 3\nt 6\nü 3"


def test_a_unit_for_each_group_and_a_new_file_costs_its_own(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    watched = Watched(pool)
    first = fitted(lake, watched, read_source(lake, pool, write_inputs(tmp_path / "in")))  # type: ignore[arg-type]
    assert sum(isinstance(unit, FitGroupUnit) for unit in watched.units) == 3
    before = {entry.path for entry in lake.list("markers/toy_initials")}
    (tmp_path / "in" / "new.txt").write_text("tail\n")
    second = fitted(lake, pool, read_source(lake, pool, [str(tmp_path / "in")]))
    made = {entry.path for entry in lake.list("markers/toy_initials")} - before
    assert len(made) == 3, "its shard, the texts with t, and the counts"
    assert contents(lake, second)["t.txt"] == contents(lake, first)["t.txt"] + "\ntail"
    assert {path.rpartition("/")[2].removesuffix(".json") for path in made} <= {*second.markers}, "a sweep keeps them"


def test_floors_and_nothing_to_fit(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    [lengths] = PassPlan((ConfiguredStage(toy.measure_length, CONFIG),), View("toy", documents)).run(lake, pool, quiet)
    for least, counts in ((8, "t 3\nü 3"), (99, "")):
        view = View(
            "toy",
            documents,
            annotations=(("toy_length", Annotation(lengths)),),
            floors=(Floor("toy_length.length", at_least=least),),
        )
        [found] = FitGroupsPlan(STAGE, (view,)).run(lake, pool, quiet)
        assert contents(lake, found)["counts.txt"] == counts
        assert found.account.skipped == 12 - found.account.kept and found.account.rows_in == 12
