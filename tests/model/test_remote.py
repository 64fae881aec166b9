"""A run whose lake is an S3 store: the same bits, a damaged file found, and scores from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from infra.store.lake import Lake
from model.checkpoint import committed_steps
from model.launch import Layout
from model.logbook import read_logbook
from model.scoring import load_checkpoint
from model.trainer import Trainer, make_engine
from tests.model.small import same_end, small_run
from tests.swift import SwiftStore

LAYOUT = Layout("native", 1, 4)


def test_a_run_in_s3_ends_as_a_local_one(
    swift: SwiftStore, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in swift.environment().items():
        monkeypatch.setenv(name, value)
    remote = Lake.open(swift.bucket("training"))
    config = small_run(lake, tmp_path / "text", steps=8)
    small_run(remote, tmp_path / "text again", steps=8)
    Trainer(lake, config, LAYOUT, make_engine(config, LAYOUT), tmp_path / "cache").train()

    interrupted = Trainer(remote, config, LAYOUT, make_engine(config, LAYOUT), tmp_path / "remote cache")
    interrupted.engine.update = _fail_at(interrupted, 6)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="lost"):
        interrupted.train()
    assert committed_steps(remote, config.key) == [0, 4]
    damaged = f"runs/{config.key}/checkpoints/step-000004/rank-0.safetensors"
    remote.write(damaged, remote.read(damaged)[:-8])
    Trainer(remote, config, LAYOUT, make_engine(config, LAYOUT), tmp_path / "remote cache").train()
    torch.use_deterministic_algorithms(False)

    assert same_end(lake, remote, config)
    events = [event["event"] for event in read_logbook(remote, config.key)]
    assert events.count("checkpoint_refused") == 1 and "error" in events
    tokens = torch.arange(32)[None]
    models = [load_checkpoint(one, config.key, 8, tmp_path / "scores") for one in (lake, remote)]
    assert torch.equal(models[0](tokens), models[1](tokens))


def _fail_at(trainer: Trainer, step: int):  # type: ignore[no-untyped-def]
    original = trainer.engine.update

    def update(learning_rate: float) -> float:
        if trainer.step == step:
            raise RuntimeError("the machine was lost")
        return original(learning_rate)

    return update
