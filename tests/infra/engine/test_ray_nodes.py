"""A Ray cluster of several nodes, of which one dies in the middle of the work."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from infra.engine.partitioned import PartitionedPlan
from infra.engine.plans import ConfiguredStage, SourcePlan
from infra.engine.pool import Engine, LocalPool
from infra.engine.views import View
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from tests.infra.engine import toy
from tests.infra.engine.ray_environment import ray_environment
from tests.infra.engine.test_plans import quiet, write_inputs

ray_engine = pytest.importorskip("infra.engine.ray", reason="the extra `ray` is not installed")


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A head and two nodes with a CPU each, as processes that listen on loopback, each at an address of its own.

    Ray replaces 127.0.0.1 by the address of the machine, so the first is 127.0.0.2.
    """
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 << 20, "include_dashboard": False}
    with ray_environment():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "node_ip_address": "127.0.0.2", **small})
        try:
            for number in (3, 4):
                cluster.add_node(num_cpus=1, node_ip_address=f"127.0.0.{number}", **small)
            cluster.wait_for_nodes()
            yield cluster
        finally:
            cluster.shutdown()


def test_a_node_that_dies_in_the_middle_does_not_change_the_digests(
    nodes: Any, pool: LocalPool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first unit that runs waits until its node is killed. It is run again on the other node."""
    caplog.set_level(logging.WARNING)
    [pattern] = write_inputs(tmp_path / "in", 8)
    stage = ConfiguredStage(toy.read_on_node, toy.PlacedConfig(folder=str(tmp_path)))

    def line(lake: Lake, engine: Engine) -> list[Manifest]:
        [documents] = SourcePlan(stage, take_inventory(lake, [pattern]).files).run(lake, engine, quiet)
        view = View("toy", documents)
        [counts] = PartitionedPlan(ConfiguredStage(toy.letter_counts, toy.ToyConfig()), (view,)).run(
            lake, engine, quiet
        )
        return [documents, counts]

    with ray_engine.RayCluster(nodes.address, 2) as engine, ThreadPoolExecutor(1) as threads:
        assert engine.places == 1
        running = threads.submit(line, Lake.open(str(tmp_path / "cluster")), engine)
        dying = toy.wait_for(tmp_path / "node")
        [node] = [node for node in nodes.worker_nodes if node.node_id == dying]
        nodes.remove_node(node, allow_graceful=False)
        made = running.result()
    assert any("its machine died" in message for message in caplog.messages), caplog.messages
    assert not any("record by record" in message for message in caplog.messages)
    again = line(Lake.open(str(tmp_path / "local")), pool)
    assert [one.digest for one in made] == [one.digest for one in again]
