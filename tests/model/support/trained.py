"""A run trained in this very process, by the native engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from infra.store.lake import Lake
from model.accounting.launch import open_accounting
from model.checkpoints.manifest import read_checkpoint
from model.checkpoints.retention import Retention
from model.layout import Layout
from model.observers.observer import Ending
from model.run.config import RunConfig, create_run
from model.run.origin import Origin
from model.trackers.feed import PATIENCE
from model.train import make_engine
from model.training.observers import open_observers
from model.training.records import Launch, Records
from model.training.trainer import Trainer


def train_here(
    lake: Lake,
    config: RunConfig,
    cache: Path,
    micro_batch: int = 4,
    trackers: tuple[str, ...] = (),
    patience: Mapping[Ending, float] = PATIENCE,
) -> Trainer:
    """Take the run to its end; what PyTorch was set to for it is set back."""
    launch = Launch(lake, config, Layout(micro_batch=micro_batch), cache, Retention(), trackers)
    engine = make_engine(config, launch.layout)
    records = Records(launch, engine)
    accounting = open_accounting(lake, config, launch.layout)
    observers = open_observers(launch, records, accounting, patience)
    trainer = Trainer(launch, engine, records, accounting.clock, observers)
    try:
        trainer.train()
    finally:
        torch.use_deterministic_algorithms(False)
    return trainer


def going_on_from(lake: Lake, config: RunConfig, step: int, label: str, **training: Any) -> RunConfig:
    """A run, created in the lake, that goes on from a checkpoint of another, in its data; `training` changes values."""
    checkpoint = read_checkpoint(lake, config.key, step)
    origin = Origin(config.key, step, checkpoint.digest, checkpoint.trainer["next_sequence"])
    child = replace(config, training=replace(config.training, **training), label=label, origin=origin)
    create_run(lake, child)
    return child
