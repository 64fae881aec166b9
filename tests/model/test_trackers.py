"""Trackers see a run's steps, and can neither change, stop nor delay it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.store.lake import Lake
from model import train
from model.checkpoints.manifest import committed_steps
from model.layout import Layout
from model.observers.losses import read_losses
from model.observers.observer import Ending
from model.observers.records import StepRecord
from model.run.config import RunConfig
from model.supervision.launch import launch_command
from model.supervision.logbook import read_logbook
from model.supervision.termination import PERMANENT_ERROR
from model.trackers.feed import TrackerFeed
from model.trackers.tracker import TRACKERS, RunDescription, TrackerKind, require_installed, require_trackers
from tests.model.support.small import same_end, small_run
from tests.model.support.trackers import points_of
from tests.model.support.trained import train_here

STEPS = 4
# Seconds: for one that ends by itself, and for one that never does.
LONG: dict[Ending, float] = {"finished": 60.0, "stopped": 60.0, "failed": 60.0}
SHORT: dict[Ending, float] = {"finished": 1.0, "stopped": 1.0, "failed": 1.0}


@pytest.fixture(autouse=True)
def _streams_as_before() -> Iterator[None]:
    """Training seeds this process's generator; other tests get back what they had."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.fixture(autouse=True)
def _test_trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Recording", "Failing", "Hanging", "Dying", "Unready"):
        kind = TrackerKind(f"tests.model.support.trackers:{name}", "json", "none")
        monkeypatch.setitem(TRACKERS, name.lower(), kind)


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, RunConfig]:
    """A run without trackers."""
    folder = tmp_path_factory.mktemp("untracked")
    lake = Lake.open(str(folder / "lake"))
    config = small_run(lake, folder / "text", steps=STEPS)
    train_here(lake, config, folder / "cache")
    return lake, config


def train_with(
    lake: Lake, folder: Path, *trackers: str, patience: Mapping[Ending, float] = LONG
) -> tuple[RunConfig, dict[str, dict[str, Any]]]:
    """The same run with trackers, and what the logbook says of each."""
    config = small_run(lake, folder / "text", steps=STEPS)
    train_here(lake, config, folder / "cache", trackers=trackers, patience=patience)
    accounts = [event for event in read_logbook(lake, config.key) if event["event"] == "tracker"]
    return config, {event["tracker"]: event for event in accounts}


def test_a_tracker_is_told_of_every_step(lake: Lake, tmp_path: Path, untracked: tuple[Lake, RunConfig]) -> None:
    config, accounts = train_with(lake, tmp_path, "recording")
    assert config == untracked[1], "trackers are no part of a run's identity"
    assert same_end(untracked[0], lake, config)
    first, *points, last = points_of(tmp_path / "cache")
    assert (first["run"], first["sequence_length"], last) == (config.key, 32, {"ending": "finished"})
    losses = {point["step"]: point["train/loss"] for point in points if "train/loss" in point}
    assert losses == {record.step: record.loss for record in read_losses(lake, config.key)}
    assert any("speed/tokens_per_second" in point for point in points)
    account = accounts["recording"]
    assert (account["delivered"], account["dropped"], account["failed"]) == (len(points), 0, 0)
    assert (account["error"], account["step"]) == ("", STEPS)


@pytest.mark.parametrize(
    ("tracker", "error", "failed"),
    [
        ("failing", "ConnectionError: no route to host", True),
        ("dying", "its process ended with status 3; see dying.log", False),
        ("unready", "PermissionError: no API key", True),
    ],
)
def test_a_broken_tracker_changes_nothing(
    lake: Lake, tmp_path: Path, untracked: tuple[Lake, RunConfig], tracker: str, error: str, failed: bool
) -> None:
    config, accounts = train_with(lake, tmp_path, tracker, "recording")
    assert config == untracked[1] and same_end(untracked[0], lake, config)
    account = accounts[tracker]
    assert error in account["error"] and account["delivered"] == 0
    points = accounts["recording"]["delivered"]
    assert points >= STEPS and accounts["recording"]["dropped"] == 0, "the other tracker has all"
    assert (account["failed"], account["dropped"]) == ((points, 0) if failed else (0, points))


def test_a_tracker_that_hangs_changes_nothing(lake: Lake, tmp_path: Path, untracked: tuple[Lake, RunConfig]) -> None:
    config, accounts = train_with(lake, tmp_path, "hanging", patience=SHORT)
    assert config == untracked[1] and same_end(untracked[0], lake, config)
    account = accounts["hanging"]
    assert (account["delivered"], account["failed"]) == (0, 0) and account["dropped"] >= STEPS
    assert account["error"] == "its process did not end within 1 s and was killed"


def description(folder: Path) -> RunDescription:
    return RunDescription("a" * 64, "", "first", {"training": {"sequence_length": 8}}, str(folder / "trackers"))


def step(number: int) -> StepRecord:
    return StepRecord(number, 1.0, 0.5, 1e-3, 8 * number, "0" * 64, 0, 0.1)


@pytest.mark.parametrize("points", [3, 5000])
def test_a_full_queue_drops_points_and_never_waits(tmp_path: Path, points: int) -> None:
    """The hanging tracker takes one point; 5,000 are more than the queue and the pipe hold."""
    told: list[tuple[int, dict[str, Any]]] = []
    feed = TrackerFeed(
        "hanging", TRACKERS["hanging"].target, description(tmp_path), lambda *facts: told.append(facts), 10, SHORT
    )
    feed.begin(0)
    for number in range(1, points + 1):
        feed.on_step_end(step(number))
    feed.close("stopped")
    feed.close("stopped")
    [(at, account)] = told
    assert at == points and (account["delivered"], account["failed"], account["dropped"]) == (0, 0, points)
    assert "was killed" in account["error"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tracker ")]


def test_a_tracker_that_was_never_begun_is_not_started(tmp_path: Path) -> None:
    """As in a launch that fails before its first step."""
    told: list[Any] = []
    feed = TrackerFeed(
        "recording", TRACKERS["recording"].target, description(tmp_path), lambda *facts: told.append(facts)
    )
    feed.close("failed")
    assert told == [] and not (tmp_path / "trackers").exists()


def test_trackers_are_checked_before_a_launch() -> None:
    require_installed(["recording", "failing"])
    with pytest.raises(ValueError, match="there is no tracker 'tensorbored'; the trackers are wandb, mlflow, trackio"):
        require_trackers(["tensorbored"])
    with pytest.raises(ValueError, match="'wandb' is named more than once"):
        require_trackers(["wandb", "mlflow", "wandb"])


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRACKERS, "wandb", TrackerKind("model.trackers.wandb:WandbTracker", "not_installed", "wandb"))
    with pytest.raises(ValueError, match=r"needs the package not_installed.*pip install 'millrace\[wandb\]'"):
        require_installed(["wandb"])


def test_trackers_are_passed_to_the_trainer_by_name() -> None:
    command = launch_command("file:///lake", "a" * 64, Layout(), Path("cache"), trackers=("wandb", "mlflow"))
    assert command[command.index("--trackers") + 1] == "wandb,mlflow"
    assert "--trackers" not in launch_command("file:///lake", "a" * 64, Layout(), Path("cache"))


def test_a_run_is_not_begun_with_a_tracker_that_does_not_exist(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_run(lake, tmp_path / "text", steps=STEPS)
    arguments = ["--lake", lake.uri, "--run-key", config.key, "--layout", "{}", "--cache", str(tmp_path / "cache")]
    monkeypatch.setattr("sys.argv", ["model.train", *arguments, "--trackers", "wandb,tensorbored"])
    with pytest.raises(SystemExit, match=str(PERMANENT_ERROR)):
        train.main()
    assert "there is no tracker 'tensorbored'" in capsys.readouterr().err
    assert committed_steps(lake, config.key) == [] and read_logbook(lake, config.key) == []
