"""A training that begins with another run keeps its checkpoint, whatever that run has when the flow run is retried."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows import train
from flows.training import TrainingSection


@pytest.mark.usefixtures("prefect_server")
def test_the_step_is_kept_in_the_flow_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = 50
    trained: list[TrainingSection] = []
    runs: list[str] = []

    def find_origin(lake: Any, name: str, report: Callable[[str], None]) -> str:
        return name if "@" in name else f"{name}@{newest}"

    def run_training(lake: Any, section: TrainingSection, fork: bool) -> dict[str, Any]:
        trained.append(section)
        runs.append(flow_run.id)
        return {"stopped": ""}

    monkeypatch.setattr(train, "find_origin", find_origin)
    monkeypatch.setattr(train, "run_training", run_training)
    train.train_model(config=None, origin="3fa9", lake=str(tmp_path), training={"steps": 9})
    with get_client(sync_client=True) as client:
        parameters = client.read_flow_run(UUID(runs[0])).parameters
    assert parameters["origin"] == "3fa9@50"
    assert parameters["training"] == {"steps": 9}
    # A retry calls the flow with the parameters of the flow run; by then there is a newer checkpoint.
    newest = 100
    train.train_model(**parameters)
    assert [section.origin for section in trained] == ["3fa9@50", "3fa9@50"]
