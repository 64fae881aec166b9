"""`python -m model.train --lake URI --run-key KEY --layout JSON`: one rank; see `model.supervision.launch`.

When started again, it resumes the run from its newest good checkpoint, or reports that the run is finished. Exit status
0: the run is finished or was stopped on request; 75: a signal made it save and exit; 78: an error that a restart would
raise again.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import warnings
from bisect import bisect_right
from dataclasses import replace
from pathlib import Path

import torch

from infra.store.patient import PatientLake
from model.accounting.launch import open_accounting
from model.architectures.registry import initial_state
from model.checkpoints.retention import Retention
from model.engine import Engine
from model.layout import Layout, layout_from
from model.parallel.stage import Stage
from model.run.config import RunConfig, read_run
from model.run.hyperparameters import TrainingConfig
from model.supervision.launch import AGENT, die_with_parent
from model.supervision.termination import LEFT_AFTER_SAVING, telling_errors_apart
from model.trackers.tracker import require_trackers
from model.training.determinism import make_deterministic
from model.training.observers import open_observers
from model.training.records import Launch, Records
from model.training.trainer import Outcome, Trainer


def main() -> None:
    """Read the command line and train."""
    if AGENT in os.environ:
        die_with_parent()
    # DeepSpeed 0.19.8 triggers this warning at every launch, and users cannot act on it.
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*all_gather_into_tensor.*")
    parser = argparse.ArgumentParser(prog="model.train", description=__doc__)
    parser.add_argument("--lake", required=True, help="URI of the lake")
    parser.add_argument("--run-key", required=True, help="key of the run")
    parser.add_argument("--layout", required=True, help="layout of the run, as JSON; see model.layout")
    parser.add_argument("--cache", required=True, type=Path, help="folder for local copies")
    parser.add_argument("--trackers", default="", help="comma-separated names of experiment trackers")
    parser.add_argument(
        "--retention",
        default="{}",
        help="checkpoints that keep their whole state, as JSON; see model.checkpoints.retention",
    )
    parser.add_argument("--launch", default="", help="id of this launch; the same for all its ranks")
    arguments = parser.parse_args()

    with telling_errors_apart():
        outcome = _train(arguments)
    # A run that a person stopped exits with 0, so that supervisors do not restart it.
    sys.exit(LEFT_AFTER_SAVING if outcome == "terminated" else 0)


def _train(arguments: argparse.Namespace) -> Outcome:
    lake = PatientLake.open(arguments.lake)
    config = read_run(lake, arguments.run_key)
    layout = layout_from(json.loads(arguments.layout))
    require_device(layout)
    retention = Retention(**json.loads(arguments.retention))
    # The spike policy needs whole checkpoints to roll back to.
    retention = replace(retention, full=max(retention.full, whole_checkpoints(config.training)))
    trackers = tuple(filter(None, arguments.trackers.split(",")))
    require_trackers(trackers)
    launch = Launch(lake, config, layout, arguments.cache, retention, trackers, arguments.launch)
    with open_accounting(lake, config, layout) as accounting:
        engine = make_engine(config, layout)
        records = Records(launch, engine)
        observers = open_observers(launch, records, accounting)
        outcome = Trainer(launch, engine, records, accounting.clock, observers).train()
    if engine.rank == 0:
        print(f"run {arguments.run_key} is {outcome}")
    engine.close()
    return outcome


def require_device(layout: Layout) -> None:
    """Raise ValueError when this machine lacks the device of the layout."""
    if layout.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"layout: device is cuda, but PyTorch {torch.__version__} finds no GPU on {socket.gethostname()}; use "
            "device=cpu, or a machine with a GPU and a build of PyTorch for it"
        )


def whole_checkpoints(training: TrainingConfig) -> int:
    """How many of the newest checkpoints must stay whole so that the spike policy can roll back; 1 without a policy."""
    policy = training.spikes
    if policy is None or not policy.rollback:
        return 1
    steps = training.checkpoints.steps(training.steps)
    # Checkpoints saved from the first high step to the one before the last are newer than the rollback's target. One
    # more may have been saved out of schedule.
    meanwhile = max(bisect_right(steps, step + policy.patience - 2) - at for at, step in enumerate(steps) if at)
    # Each further rollback may start at the target of the previous one, which counts as its first checkpoint back.
    further = (policy.limit - 1) * (policy.rollback - 1)
    return policy.rollback + further + meanwhile + 1


def make_engine(config: RunConfig, layout: Layout) -> Engine:
    """The engine of a layout with the run's initial weights. Sets this process's threads and determinism."""
    training = config.training
    make_deterministic(training.threads)
    accumulation = layout.accumulation(training.batch)
    if training.validation is not None:
        layout.accumulation(training.validation.sequences)
    end_of_document = config.end_of_document if training.reset_boundaries else None
    if layout.engine == "native":
        from model.engine.native import NativeEngine

        stage = Stage(config.model, layout, end_of_document=end_of_document)
        engine: Engine = NativeEngine(stage, training.optimizer, training.precision)
    else:
        from model.engine.deepspeed import DeepSpeedEngine, start_ranks

        groups = start_ranks(layout)
        stage = Stage(config.model, layout, groups, end_of_document=end_of_document)
        engine = DeepSpeedEngine(stage, groups, training.optimizer, accumulation, training.precision)
    # Not through the stage's seed: this loads one tensor at a time, and the fp32 masters are never rounded.
    engine.restore(initial_state(config.model, config.seed), 0)
    return engine


if __name__ == "__main__":
    main()
