"""The local pool: what becomes of a unit whose worker dies, is too large, or is cancelled, and of all others."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from infra.engine import pool as pool_module
from infra.engine.memory import WORKER_MEMORY
from infra.engine.plans import ConfiguredStage, SourcePlan
from infra.engine.pool import LocalPool
from infra.engine.scheduling import OutOfMemory, WorkFailed
from infra.engine.units import SourceUnit
from infra.engine.workers import Worker
from infra.store.inputs import InputFile, take_inventory
from infra.store.lake import Lake
from infra.store.manifest import Marker
from tests.infra.engine import toy
from tests.infra.engine.test_plans import quiet


@pytest.fixture
def files(lake: Lake, tmp_path: Path) -> tuple[InputFile, ...]:
    (tmp_path / "in").mkdir()
    for number in range(6):
        (tmp_path / "in" / f"{number}.txt").write_text(f"pid {number}\n")
    return take_inventory(lake, [str(tmp_path / "in")]).files


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalPool]:
    """Two workers of 256 MiB each, that are looked at often."""
    monkeypatch.setenv(WORKER_MEMORY, "256M")
    monkeypatch.setattr(pool_module, "_LOOK_SECONDS", 0.05)
    with LocalPool(2) as pool:
        yield pool


def source(lake: Lake, stage: ConfiguredStage, file: InputFile) -> SourceUnit:
    return SourceUnit(lake, stage.keyed(file=file.sha256), file)


def run(pool: LocalPool, *units: SourceUnit) -> list[dict[str, Marker]]:
    return pool.run(units, lambda done, total: None)


def test_a_failed_unit_ends_no_worker(lake: Lake, tmp_path: Path, files: tuple[InputFile, ...]) -> None:
    """Units that run beside it have the time to end, and their worker takes others."""
    units = [source(lake, ConfiguredStage(toy.read_pids, toy.ToyConfig()), file) for file in files]
    with LocalPool(1) as pool:

        def worker() -> str:
            again = ConfiguredStage(toy.read_pids, toy.ToyConfig(factor=len(seen) + 2))
            unit = source(lake, again, files[0])
            [markers] = run(pool, unit)
            [text] = toy.texts(lake, markers[unit.call.key])
            return text

        seen: list[str] = []
        seen.append(worker())
        (tmp_path / "in" / "0.txt").rename(tmp_path / "in" / "gone")
        with pytest.raises(WorkFailed, match="no longer exists"):
            run(pool, *units)
        (tmp_path / "in" / "gone").rename(tmp_path / "in" / "0.txt")
        seen.append(worker())
        assert seen[0] == seen[1]


def test_a_cancelled_unit_that_goes_on_ends_with_its_worker_alone(
    lake: Lake, files: tuple[InputFile, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(pool_module, "_CANCEL_SECONDS", 0.2)
    endless = ConfiguredStage(toy.read_endless, toy.PlacedConfig(folder=str(tmp_path)))
    with LocalPool(2) as pool:
        handle = pool.start(source(lake, endless, files[0]), 1)
        other = pool.start(source(lake, endless, files[1]), 1)
        pids = {file.name: toy.wait_for(tmp_path / f"{file.name}.pid") for file in files[:2]}
        pool.cancel(handle)
        assert pool.ended([handle]) == [handle]
        toy.wait_until_gone(int(pids["0.txt"]))
        assert Path(f"/proc/{pids['1.txt']}").exists() and not other.has_ended  # type: ignore[attr-defined]
        # The place of the cancelled unit is free again.
        run(pool, source(lake, ConfiguredStage(toy.read_pids, toy.ToyConfig()), files[2]))
        pool.cancel(other)


def test_a_unit_that_waits_is_cancelled_before_it_starts(
    lake: Lake, files: tuple[InputFile, ...], tmp_path: Path
) -> None:
    pids = ConfiguredStage(toy.read_pids, toy.ToyConfig())
    with LocalPool(1) as pool:
        running = pool.start(
            source(lake, ConfiguredStage(toy.read_endless, toy.PlacedConfig(folder=str(tmp_path))), files[0]), 1
        )
        waiting = source(lake, pids, files[1])
        toy.wait_for(tmp_path / "0.txt.pid")
        pool.cancel(pool.start(waiting, 1))
        assert not pool._queue
        pool.cancel(running)


def test_a_worker_over_its_limit_is_ended_and_its_unit_gets_more(
    lake: Lake, files: tuple[InputFile, ...], tmp_path: Path, small: LocalPool, caplog: pytest.LogCaptureFixture
) -> None:
    """Alone it may use the memory of both workers. The neighbour does not notice."""
    caplog.set_level(logging.WARNING)
    large = ConfiguredStage(toy.read_large, toy.PlacedConfig(folder=str(tmp_path), megabytes=230, held=1))
    [manifest] = SourcePlan(large, files[:2]).run(lake, small, quiet)
    assert manifest.rows == 2
    assert (tmp_path / "large").read_text() == "0.txt\n0.txt\n", "the first time it held the memory until it was ended"
    [told] = caplog.messages
    assert "read_large of" in told and "0.txt: its worker was ended because it used 0." in told
    assert told.endswith("GiB of memory, of 0.25 GiB; it is run again alone")


def test_a_worker_that_the_kernel_killed_is_run_again_alone(
    lake: Lake, files: tuple[InputFile, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    killed = ConfiguredStage(toy.read_killed, toy.PlacedConfig(folder=str(tmp_path)))
    with LocalPool(2) as pool:
        [manifest] = SourcePlan(killed, files[:1]).run(lake, pool, quiet)
    assert manifest.rows == 1 and not manifest.account.failed, "no record is condemned for it"
    [told] = caplog.messages
    assert told.endswith(
        "its worker was killed (SIGKILL), most likely because the machine ran out of memory; it is run again alone"
    )


def test_what_a_dead_worker_left_is_deleted(lake: Lake, files: tuple[InputFile, ...], tmp_path: Path) -> None:
    killed = ConfiguredStage(toy.read_killed, toy.PlacedConfig(folder=str(tmp_path)))
    with LocalPool(2) as pool:
        handle = pool.start(source(lake, killed, files[0]), 1)
        pool.ended([handle])
        with pytest.raises(OutOfMemory):
            pool.result(handle)
        assert not [*pool._cache.glob("work-*")]


def test_an_idle_worker_that_died_is_replaced(lake: Lake, files: tuple[InputFile, ...]) -> None:
    with LocalPool(1) as pool:
        for number in range(2):
            stage = ConfiguredStage(toy.read_pids, toy.ToyConfig(factor=number + 1))
            unit = source(lake, stage, files[0])
            [markers] = run(pool, unit)
            [pid] = toy.texts(lake, markers[unit.call.key])
            os.kill(int(pid), signal.SIGKILL)
            toy.wait_until_gone(int(pid))


def test_the_server_that_forks_workers_may_die(lake: Lake, files: tuple[InputFile, ...]) -> None:
    with LocalPool(1) as pool:
        for number in range(2):
            stage = ConfiguredStage(toy.read_pids, toy.ToyConfig(factor=number + 1))
            assert len(run(pool, source(lake, stage, files[0]))) == 1
            server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
            os.kill(server, signal.SIGKILL)
            toy.wait_until_gone(server)


@pytest.mark.parametrize(
    ("errors", "runs"), [([EOFError()], True), ([ConnectionRefusedError()] * 4, True), ([EOFError()] * 5, False)]
)
def test_a_unit_does_not_wait_for_a_worker_that_does_not_start(
    errors: list[Exception], runs: bool, lake: Lake, files: tuple[InputFile, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(context: Any, cache: Path) -> Worker:
        if errors:
            raise errors.pop()
        return Worker(context, cache)

    monkeypatch.setattr(pool_module, "Worker", start)
    unit = source(lake, ConfiguredStage(toy.read_pids, toy.ToyConfig()), files[0])
    with LocalPool(1) as pool:
        if runs:
            assert len(run(pool, unit)) == 1
        else:
            with pytest.raises(WorkFailed, match="EOFError"):
                run(pool, unit)


def test_an_error_that_cannot_be_sent_is_told(lake: Lake, files: tuple[InputFile, ...]) -> None:
    stage = ConfiguredStage(toy.read_nothing, toy.ToyConfig())
    with LocalPool(1) as pool, pytest.raises(WorkFailed, match=r"StrangeError: for 0\.txt"):
        run(pool, source(lake, stage, files[0]))
