"""The local pool ends, whatever becomes of its workers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, cast

import pytest

from infra.engine import pool as pool_module
from infra.engine.plans import ConfiguredStage
from infra.engine.pool import LocalPool
from infra.engine.scheduling import WorkerDied, WorkFailed
from infra.engine.units import SourceUnit, WorkUnit
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from tests.infra.engine import toy

UNIT = cast(WorkUnit, "shard 7 of language")


class Workers:
    """In place of Pebble's pool: what `schedule` returns or raises, one for each call."""

    def __init__(self, *outcomes: Callable[[Any], Future[Any]]) -> None:
        self.outcomes = list(outcomes)

    def schedule(self, function: object, args: Any) -> Future[Any]:
        return self.outcomes.pop(0)(args[-1])

    def stop(self) -> None: ...

    def join(self) -> None: ...


def use(monkeypatch: pytest.MonkeyPatch, *pools: Workers) -> None:
    made = iter(pools)
    monkeypatch.setattr(pool_module, "ProcessPool", lambda **_: next(made))
    monkeypatch.setattr(pool_module, "_LOOK_SECONDS", 0.01)


def lost(note: Any) -> Future[Any]:
    """The worker began, and died before Pebble knew that it had the unit."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    note._path.write_text(str(process.pid))
    return Future()


def broken(note: Any) -> Future[Any]:
    raise BrokenProcessPool("All workers expired")


def failing(note: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(BrokenProcessPool("All workers expired"))
    return future


def working(note: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result({})
    return future


def test_a_unit_whose_worker_is_gone_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Workers(lost))
    with LocalPool(1) as pool:
        handle = pool.start(UNIT)
        assert pool.ended([handle]) == [handle]
        with pytest.raises(WorkerDied, match="ended before it was known to work"):
            pool.result(handle)


def test_a_pool_that_gave_up_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Workers(failing), Workers(broken), Workers(working))
    with LocalPool(1) as pool:
        handle = pool.start(UNIT)
        with pytest.raises(WorkerDied, match="all workers ended"):
            pool.result(*pool.ended([handle]))
        assert pool.result(pool.start(UNIT)) == {}


def test_a_failed_unit_ends_no_worker(lake: Lake, tmp_path: Path) -> None:
    """Pebble ends the workers of cancelled units; one that has taken another unit by then would take that with it."""
    (tmp_path / "in").mkdir()
    for number in range(6):
        (tmp_path / "in" / f"{number}.txt").write_text(f"pid {number}\n")
    files = take_inventory(lake, [str(tmp_path / "in")]).files
    stage = ConfiguredStage(toy.read_pids, toy.ToyConfig())
    units = [SourceUnit(lake, stage.keyed(file=file.sha256), file) for file in files]
    with LocalPool(1) as pool:

        def worker() -> str:
            again = ConfiguredStage(toy.read_pids, toy.ToyConfig(factor=len(seen) + 2))
            unit = SourceUnit(lake, again.keyed(file=files[0].sha256), files[0])
            [markers] = pool.run([unit], lambda done, total: None)
            [text] = toy.texts(lake, markers[unit.call.key])
            return text

        seen: list[str] = []
        seen.append(worker())
        (tmp_path / "in" / "0.txt").rename(tmp_path / "in" / "gone")
        with pytest.raises(WorkFailed, match="no longer exists"):
            pool.run(units, lambda done, total: None)
        (tmp_path / "in" / "gone").rename(tmp_path / "in" / "0.txt")
        seen.append(worker())
        assert seen[0] == seen[1]
