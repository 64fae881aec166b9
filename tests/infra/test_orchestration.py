"""Plans as Prefect tasks: cached in the lake, retried on transient errors only, stopped by too many failures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import flow

from infra import orchestration
from infra.engine.plans import Call, PassPlan, SourcePlan
from infra.engine.pool import LocalPool, PieceFailed
from infra.orchestration import Line, TooManyFailures, as_task
from infra.store.errors import StoreUnavailable
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from tests.infra.engine import toy
from tests.infra.engine.test_plans import quiet, write_inputs

CONFIG = toy.ToyConfig()


# Prefect sends a process's events to the first server that it knew, so the tests of a process share one.
pytestmark = pytest.mark.usefixtures("prefect_server")


def in_flow(work: Callable[[], object]) -> None:
    """Run `work` in a flow."""

    @flow
    def run() -> None:
        work()

    run()


def test_a_second_build_is_cached_and_does_nothing(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    files = take_inventory(lake, write_inputs(tmp_path / "in")).files
    line = Line(lake, pool, quiet)
    made: list[Manifest] = []
    plan = SourcePlan(Call(toy.read_lines, CONFIG), files)
    in_flow(lambda: made.extend(line.make(plan)))
    modified = [path.stat().st_mtime_ns for path in (tmp_path / "lake" / "markers").rglob("*.json")]
    again: list[Manifest] = []
    idle = Line(lake, _Refusing(), quiet)
    in_flow(lambda: again.extend(idle.make(plan)))
    assert again == made
    assert [path.stat().st_mtime_ns for path in (tmp_path / "lake" / "markers").rglob("*.json")] == modified


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
        raise PieceFailed("the record is broken")

    with pytest.raises(PieceFailed, match="the record is broken"):
        in_flow(lambda: as_task(broken, "broken")(return_state=True).result())
    assert len(tries) == 1


def test_too_many_failures_stop_the_line(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    files = take_inventory(lake, write_inputs(tmp_path / "in")).files
    plan = SourcePlan(Call(toy.read_lines, CONFIG), files)
    with pytest.raises(TooManyFailures, match=r"3 of 18 failed.*the recipe allows 10\.0%"):
        in_flow(lambda: Line(lake, pool, quiet, 0.1).make(plan))
    # What was counted stays counted: the artifact is there, and the next try must not pass as cached.
    with pytest.raises(TooManyFailures):
        in_flow(lambda: Line(lake, pool, quiet, 0.1).make(plan))
    in_flow(lambda: Line(lake, pool, quiet, 0.2).make(plan))


def test_a_lost_row_fails_the_flow(lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    files = take_inventory(lake, write_inputs(tmp_path / "in")).files
    line = Line(lake, pool, quiet)

    def work() -> None:
        [documents] = line.make(SourcePlan(Call(toy.read_lines, CONFIG), files))
        line.make(PassPlan((Call(toy.lose_one_row, CONFIG),), documents))

    with pytest.raises(PieceFailed, match="was given 4 documents and annotated 3"):
        in_flow(work)


class _Refusing:
    """An engine that must not be asked."""

    def run(self, pieces: object, progress: object) -> list[dict[str, object]]:
        raise AssertionError("there was nothing to do")
