"""A run trained in this very process, by the native engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from infra.store.lake import Lake
from model.accounting.launch import open_accounting
from model.checkpoints.manifest import read_checkpoint
from model.checkpoints.retention import Retention
from model.layout import Layout
from model.run.config import RunConfig, create_run
from model.run.origin import Origin
from model.train import make_engine
from model.training.records import Launch, Records
from model.training.trainer import Trainer


def train_here(lake: Lake, config: RunConfig, cache: Path, micro_batch: int = 4) -> Trainer:
    """Take the run to its end; what PyTorch was set to for it is set back."""
    launch = Launch(lake, config, Layout(micro_batch=micro_batch), cache, Retention())
    engine = make_engine(config, launch.layout)
    records = Records(launch, engine)
    trainer = Trainer(launch, engine, records, open_accounting(lake, config, launch.layout))
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
