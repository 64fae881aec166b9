"""The observers of a launch on one rank."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from model.accounting.launch import Accounting
from model.observers.losses import Losses
from model.observers.observer import Ending, StepObserver
from model.observers.status_lines import StatusLines
from model.observers.tensorboard import EventFiles
from model.trackers.feed import PATIENCE, TrackerFeed
from model.trackers.tracker import TRACKERS, TRACKERS_FOLDER, RunDescription
from model.training.records import Launch, Records


def open_observers(
    launch: Launch, records: Records, accounting: Accounting, patience: Mapping[Ending, float] = PATIENCE
) -> list[StepObserver]:
    """The account on every rank; on rank 0 also losses, TensorBoard, status lines and trackers, to which
    the account publishes.

    The account comes first. It is attached to the launch. At the end, trackers get `patience` seconds, depending on how
    the launch ends.
    """
    lake, run = launch.lake, launch.config.key
    others: list[StepObserver] = []
    if records.leads:
        status = StatusLines(launch.config.training.steps)
        others = [Losses(lake, run), EventFiles(lake, run), status, *_trackers(launch, records, patience)]
    accounting.join(records.launch, others)
    return [accounting, *others]


def _trackers(launch: Launch, records: Records, patience: Mapping[Ending, float]) -> list[TrackerFeed]:
    config = launch.config
    run = RunDescription(
        key=config.key,
        label=config.label,
        launch=records.launch,
        config=config.to_plain(),
        folder=str(Path(os.environ.get(TRACKERS_FOLDER) or launch.cache / "trackers").absolute()),
    )

    def report(step: int, account: dict[str, object]) -> None:
        records.note("tracker", step, **account)

    return [TrackerFeed(name, TRACKERS[name].target, run, report, patience=patience) for name in launch.trackers]
