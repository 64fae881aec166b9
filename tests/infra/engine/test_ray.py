"""A Ray cluster of this machine: the digests of the local pool, and errors that say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.engine.memory import WORKER_MEMORY
from infra.engine.plans import ConfiguredStage, PassPlan
from infra.engine.pool import Engine, LocalPool
from infra.engine.scheduling import MachineDied, OutOfMemory, WorkerDied, WorkFailed
from infra.engine.views import View
from infra.store.errors import StoreUnavailable
from infra.store.lake import Lake
from tests.infra.engine import toy
from tests.infra.engine.line import run_line
from tests.infra.engine.ray_environment import ray_environment
from tests.infra.engine.test_plans import quiet, read_source, write_inputs

ray_engine = pytest.importorskip("infra.engine.ray", reason="the extra `ray` is not installed")
ray_exceptions = pytest.importorskip("ray.exceptions")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Engine]:
    with ray_environment(), ray_engine.RayCluster("local", 2) as cluster:
        yield cluster


def test_a_cluster_gives_the_digests_of_the_local_pool(cluster: Engine, pool: LocalPool, tmp_path: Path) -> None:
    [pattern] = write_inputs(tmp_path / "in")
    local = run_line(Lake.open(str(tmp_path / "local")), pool, pattern)
    assert run_line(Lake.open(str(tmp_path / "cluster")), cluster, pattern) == local


def test_a_kernel_that_loses_a_row_fails_there_too(
    cluster: Engine, pool: LocalPool, lake: Lake, tmp_path: Path
) -> None:
    documents = read_source(lake, pool, write_inputs(tmp_path / "in"))
    with pytest.raises(WorkFailed, match="was given 4 documents and annotated 3"):
        PassPlan((ConfiguredStage(toy.lose_one_row, toy.ToyConfig()),), View("toy", documents)).run(
            lake, cluster, quiet
        )


@pytest.mark.parametrize(
    ("raised", "expected", "told"),
    [
        (ray_exceptions.OutOfMemoryError("x"), OutOfMemory, "the memory of its machine ran out"),
        (ray_exceptions.NodeDiedError("x"), MachineDied, "its machine died"),
        (ray_exceptions.LocalRayletDiedError(), MachineDied, "its machine died"),
        (ray_exceptions.ObjectLostError("ff" * 14, None, ""), MachineDied, "its machine died"),
        (ray_exceptions.WorkerCrashedError(), WorkerDied, "^$"),
        (ray_exceptions.ActorDiedError(), WorkerDied, "^$"),
        (ray_exceptions.RayTaskError("f", "trace", StoreUnavailable("away")), StoreUnavailable, "away"),
    ],
)
def test_errors_of_ray_are_those_of_the_local_pool(
    raised: Exception, expected: type[Exception], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(handle: object) -> None:
        raise raised

    monkeypatch.setattr(ray_engine.ray, "wait", lambda handles, timeout: (handles, []))
    monkeypatch.setattr(ray_engine.ray, "get", get)
    engine = ray_engine.RayCluster("local", 2)
    engine._places["unit"] = 1
    with pytest.raises(expected, match=told) as caught:
        engine.result("unit")
    assert type(caught.value) is expected


def test_a_unit_takes_the_cpus_and_the_stated_memory_of_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    class Remote:
        def options(self, **options: Any) -> Remote:
            asked.append(options)
            return self

        def remote(self, unit: object) -> str:
            return str(unit)

    asked: list[dict[str, Any]] = []
    for stated in ("", "2G"):
        monkeypatch.setenv(WORKER_MEMORY, stated)
        engine = ray_engine.RayCluster("local", 4)
        engine._work = Remote()
        engine.start("unit", 2)
    assert asked == [{"num_cpus": 2}, {"num_cpus": 2, "memory": 4 << 30}]


def test_a_unit_for_which_no_machine_is_large_enough_any_more_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 8.0}}]
    cancelled: list[object] = []
    monkeypatch.setattr(ray_engine.ray, "nodes", lambda: machines)
    monkeypatch.setattr(ray_engine.ray, "wait", lambda handles, **_: ([], handles))
    monkeypatch.setattr(ray_engine.ray, "cancel", lambda handle, force: cancelled.append(handle))
    engine = ray_engine.RayCluster("local", 4)
    engine._places = {"small": 1, "fits": 2, "large": 8}
    assert engine.ended(["small", "fits", "large"]) == ["large"]
    with pytest.raises(MachineDied, match="no machine has 8 CPUs any more"):
        engine.result("large")
    assert cancelled == ["large"]
