"""The store goes away while a run trains: the same launch continues, and ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import pytest
import s3fs

from infra.store.lake import Lake
from model.supervision.logbook import read_logbook
from tasks.layout_request import LayoutRequest
from tasks.training import is_finished, train
from tests.model.support.small import same_end, small_run
from tests.network import Network
from tests.swift import SwiftStore

STEPS = 300
CONNECTIONS = 40  # that the outage refuses: of the ranks, which write, and of the supervisor, which reads


def test_an_outage_of_the_store_ends_no_launch(
    swift: SwiftStore, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = {"kind": "every", "every": 150}
    request = LayoutRequest(engine="native", micro_batch=4)
    expected = small_run(lake, tmp_path / "text", epochs=64, steps=STEPS, checkpoints=checkpoints)
    train(lake, expected.key, request, print, lambda step, steps: None)
    with Network(swift.endpoint) as network:
        for name, value in {**swift.environment(), "AWS_ENDPOINT_URL": network.endpoint}.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        remote = Lake.open(f"s3://{swift.bucket()}/lake")
        config = small_run(remote, tmp_path / "again", epochs=64, steps=STEPS, checkpoints=checkpoints)

        def on_step(step: int, steps: int) -> None:
            if step and not network.refused:
                network.cut(CONNECTIONS)

        train(remote, config.key, request, print, on_step)
        assert network.refused == CONNECTIONS
        assert is_finished(remote, config.key)
        assert same_end(lake, remote, config)
        events = [event["event"] for event in read_logbook(remote, config.key)]
        assert events.count("launch") == 1 and not {"resume", "error"} & set(events), events
    s3fs.S3FileSystem.clear_instance_cache()
