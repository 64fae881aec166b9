"""Plans as Prefect tasks: cached in the lake, retried on transient errors only, stopped by too many failures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from infra import orchestration
from infra.engine.graph import BuildTask, Made
from infra.engine.plans import ConfiguredStage, PassPlan, Plan, SourcePlan
from infra.engine.pool import LocalPool
from infra.engine.scheduling import WorkFailed
from infra.engine.views import View
from infra.orchestration import StageRunner, TooManyFailures, as_task
from infra.stage import Stage
from infra.store.errors import NotThere, StoreUnavailable
from infra.store.inputs import InputFile, take_inventory
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from tests.infra.engine import toy
from tests.infra.engine.test_plans import quiet, read_source, write_inputs

CONFIG = toy.ToyConfig()


# Prefect sends a process's events to the first server that it knew, so the tests of a process share one.
pytestmark = pytest.mark.usefixtures("prefect_server")


def in_flow(work: Callable[[], object]) -> None:
    """Run `work` in a flow."""

    @flow
    def run() -> None:
        work()

    run()


def reading(files: tuple[InputFile, ...], name: str = "toy/documents") -> BuildTask:
    """The task that reads files."""
    return BuildTask(name, (name,), (), lambda lake, made: SourcePlan(ConfiguredStage(toy.read_lines, CONFIG), files))


def annotating(stage: Stage, makes: str, needs: str = "toy/documents") -> BuildTask:
    """The task of one annotating stage over the documents that it needs."""

    def plan(lake: Lake, made: Made) -> Plan:
        return PassPlan((ConfiguredStage(stage, CONFIG),), View("toy", made[needs]))

    return BuildTask(makes, (makes,), (needs,), plan)


def test_a_second_build_is_cached_and_does_nothing(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    files = take_inventory(lake, write_inputs(tmp_path / "in")).files
    tasks = [reading(files), annotating(toy.measure_length, "toy/length")]
    runner = StageRunner(lake, pool, quiet)
    made: dict[str, Manifest] = {}
    in_flow(lambda: made.update(runner.run(tasks)))
    assert list(made) == ["toy/documents", "toy/length"]
    modified = [path.stat().st_mtime_ns for path in (tmp_path / "lake" / "markers").rglob("*.json")]
    again: dict[str, Manifest] = {}
    idle = StageRunner(lake, _Refusing(), quiet)
    in_flow(lambda: again.update(idle.run(tasks)))
    assert again == made
    assert [path.stat().st_mtime_ns for path in (tmp_path / "lake" / "markers").rglob("*.json")] == modified


def test_a_task_takes_what_is_made_already(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    made: dict[str, Manifest] = {}
    runner = StageRunner(lake, pool, quiet)
    task = annotating(toy.measure_length, "toy/length")
    in_flow(lambda: made.update(runner.run([task], {"toy/documents": documents})))
    assert list(made) == ["toy/length"]
    assert made["toy/length"].inputs == {"toy/documents": documents.digest}


def test_a_manifest_is_read_once_however_many_tasks_need_it(
    lake: Lake, pool: LocalPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = take_inventory(lake, write_inputs(tmp_path / "in")).files
    lengths = [annotating(toy.measure_length, f"toy/length-{number}") for number in range(4)]
    in_flow(lambda: StageRunner(lake, pool, quiet).run([reading(files), *lengths]))
    read: list[str] = []
    act = Lake.read
    monkeypatch.setattr(Lake, "read", lambda self, path: read.append(path) or act(self, path))
    in_flow(lambda: StageRunner(lake, pool, quiet).run([reading(files), *lengths]))
    assert sum(path.startswith("artifacts/toy_lines/") for path in read) == 1


def test_a_task_that_fails_stops_only_those_that_need_it(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    files = take_inventory(lake, write_inputs(tmp_path / "in")).files
    tasks = [
        reading(files),
        annotating(toy.lose_one_row, "toy/lost"),
        annotating(toy.measure_length, "toy/behind", needs="toy/lost"),
        annotating(toy.measure_length, "toy/length"),
    ]
    with pytest.raises(WorkFailed, match="was given 4 documents and annotated 3"):
        in_flow(lambda: StageRunner(lake, pool, quiet).run(tasks))
    # The one beside the failure is in the lake: the next build takes it up.
    made = {entry.path.split("/")[1] for entry in lake.list("artifacts")}
    assert made == {"toy_lines", "toy_length"}


def test_builds_that_overlap_do_the_work_once(
    lake: Lake, pool: LocalPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = take_inventory(lake, write_inputs(tmp_path / "in")).files
    started, other_waits = threading.Event(), threading.Event()
    runs: list[str] = []
    run = SourcePlan.run

    def run_slowly(plan: SourcePlan, *arguments: Any) -> list[Manifest]:
        runs.append(plan.names[0])
        started.set()
        assert other_waits.wait(60)
        return run(plan, *arguments)

    monkeypatch.setattr(SourcePlan, "run", run_slowly)
    monkeypatch.setattr(orchestration, "_say_waiting", lambda name: other_waits.set())
    results: list[dict[str, Manifest]] = []

    def build() -> None:
        in_flow(lambda: results.append(StageRunner(lake, pool, quiet).run([reading(files)])))

    first, second = (threading.Thread(target=build) for _ in range(2))
    first.start()
    assert started.wait(60)
    second.start()
    first.join()
    second.join()
    assert runs == ["toy_lines"] and results[0] == results[1]
    assert [path for path in Path(lake.uri, "leases").rglob("*") if path.is_file()] == []


def test_a_transient_error_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestration, "exponential_backoff", lambda factor: 0)
    tries: list[int] = []

    def unreliable() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise StoreUnavailable("come back later")
        return "done"

    in_flow(lambda: as_task(unreliable, "unreliable")(return_state=True).result())
    assert len(tries) == 3


def test_another_error_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestration, "exponential_backoff", lambda factor: 0)
    tries: list[int] = []

    def broken() -> str:
        tries.append(1)
        raise WorkFailed("the record is broken")

    with pytest.raises(WorkFailed, match="the record is broken"):
        in_flow(lambda: as_task(broken, "broken")(return_state=True).result())
    assert len(tries) == 1


def test_too_many_failures_stop_the_build(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    files = take_inventory(lake, write_inputs(tmp_path / "in")).files
    tasks = [reading(files)]
    with pytest.raises(TooManyFailures, match=r"3 of 18 failed \(3 .*the recipe allows 10\.0%\. They are in "):
        in_flow(lambda: StageRunner(lake, pool, quiet, 0.1).run(tasks))
    # What was counted stays counted: the artifact is there, and the next try must not pass as cached.
    with pytest.raises(TooManyFailures):
        in_flow(lambda: StageRunner(lake, pool, quiet, 0.1).run(tasks))
    in_flow(lambda: StageRunner(lake, pool, quiet, 0.2).run(tasks))
    in_flow(lambda: StageRunner(lake, pool, quiet, 0.1, failures_allowed=3).run(tasks))


def test_a_lost_row_fails_the_flow(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    files = take_inventory(lake, write_inputs(tmp_path / "in")).files
    tasks = [reading(files), annotating(toy.lose_one_row, "toy/lost")]
    with pytest.raises(WorkFailed, match="was given 4 documents and annotated 3"):
        in_flow(lambda: StageRunner(lake, pool, quiet).run(tasks))


def test_an_artifact_that_goes_between_two_tasks_is_named(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    files = take_inventory(lake, write_inputs(tmp_path / "in")).files

    def remove(lake: Lake, made: Made) -> Plan:
        for entry in lake.list("artifacts"):
            (tmp_path / "lake" / entry.path).unlink()
        return PassPlan((ConfiguredStage(toy.measure_length, CONFIG),), View("toy", made["toy/documents"]))

    tasks = [reading(files), BuildTask("remove", ("toy/length",), ("toy/documents",), remove)]
    with pytest.raises(NotThere, match="of toy_lines was deleted during the flow"):
        in_flow(lambda: StageRunner(lake, pool, quiet).run(tasks))


class _Refusing:
    """An engine that must not be asked."""

    def run(self, units: object, progress: object) -> list[dict[str, object]]:
        raise AssertionError("there was nothing to do")
