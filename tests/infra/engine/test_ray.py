"""The toy line on a Ray cluster of this machine: the digests of the local pool, and errors that say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.engine.plans import ConfiguredStage, PassPlan
from infra.engine.pool import Engine, LocalPool
from infra.engine.scheduling import WorkFailed
from infra.engine.views import View
from infra.store.lake import Lake
from tests.infra.engine import toy
from tests.infra.engine.line import run_line
from tests.infra.engine.test_plans import quiet, read_source, write_inputs

ray_engine = pytest.importorskip("infra.engine.ray", reason="the extra `ray` is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Engine]:
    root = str(Path(__file__).resolve().parents[3])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", root)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        with ray_engine.RayCluster("local", 2) as cluster:
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
