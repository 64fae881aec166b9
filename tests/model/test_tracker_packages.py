"""Weights & Biases, MLflow and Trackio themselves, without a service: what two launches of a run leave behind.

Each is skipped where its package is not installed.
"""

from __future__ import annotations

import importlib.util
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from model.observers.records import StepRecord
from model.presets import preset
from model.trackers.feed import TrackerFeed
from model.trackers.tracker import TRACKERS, RunDescription

KEY = "ab" * 32
NAME = KEY[:12]
LAUNCHES = {"first": range(1, 5), "second": range(3, 7)}  # the second resumes after step 2


def train_twice(folder: Path, tracker: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Feed the steps of two launches to a tracker; gives the folder of its offline data."""
    if importlib.util.find_spec(TRACKERS[tracker].package) is None:
        pytest.skip(f"{TRACKERS[tracker].package} is not installed")
    for variable in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "MLFLOW_TRACKING_URI", "TRACKIO_DIR"):
        monkeypatch.delenv(variable, raising=False)
    values = preset("tiny-pythia")
    config = {"model": values["model"], "training": values["training"], "seed": 7}
    for launch, steps in LAUNCHES.items():
        told: list[tuple[int, dict[str, Any]]] = []
        run = RunDescription(KEY, "", launch, config, str(folder / "trackers"))
        patience = {"stopped": 120.0, "finished": 120.0, "failed": 120.0}

        def report(step: int, account: dict[str, Any], told: list[tuple[int, dict[str, Any]]] = told) -> None:
            told.append((step, account))

        feed = TrackerFeed(tracker, TRACKERS[tracker].target, run, report, patience=patience)
        feed.begin(steps.start - 1)
        for step in steps:
            feed.on_step_end(StepRecord(step, 8 / step, 0.5, 1e-3, 256 * step, "0" * 64, 0, 0.1))
        feed.close("stopped" if launch == "first" else "finished")
        expected = {"tracker": tracker, "delivered": len(steps), "dropped": 0, "failed": 0, "error": ""}
        assert told == [(steps[-1], expected)], (folder / "trackers" / f"{tracker}.log").read_text(encoding="utf-8")
    return folder / "trackers" / tracker


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = train_twice(tmp_path, "wandb", monkeypatch)
    files = sorted(folder.glob(f"wandb/offline-run-*-{KEY[:32]}/run-{KEY[:32]}.wandb"))
    assert len(files) == len(LAUNCHES), "one for each launch, of one run"
    assert all(b"train/loss" in file.read_bytes() for file in files)


def test_mlflow_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = train_twice(tmp_path, "mlflow", monkeypatch)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=folder.as_uri())
    experiment = client.get_experiment_by_name("millrace")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", NAME)
    assert run.data.params["model.architecture"] == "pythia" and run.data.params["training.schedule.warmup"] == "10"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [
        (s, 8 / s) for steps in LAUNCHES.values() for s in steps
    ]


def test_trackio_in_a_local_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = train_twice(tmp_path, "trackio", monkeypatch)
    with sqlite3.connect(folder / "millrace.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    assert {name for name, _, _ in rows} == {NAME}
    losses = [(step, json.loads(metrics)["train/loss"]) for _, step, metrics in rows]
    assert losses == [(s, 8 / s) for steps in LAUNCHES.values() for s in steps]
