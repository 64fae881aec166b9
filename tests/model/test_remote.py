"""Checkpoints in an S3 store: saved by two ranks, pruned, damaged, read again; and a run that ends as a local one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from infra.store.lake import Lake
from model.accounting.launch import open_accounting
from model.analysis.scoring import load_checkpoint
from model.checkpoints.files import open_state
from model.checkpoints.manifest import committed_steps, newest_good, read_checkpoint
from model.checkpoints.retention import NEWEST_TWO, Retention
from model.layout import Layout
from model.run.config import RunConfig
from model.supervision.logbook import read_logbook
from model.train import make_engine
from model.training.observers import open_observers
from model.training.records import Launch, Records
from model.training.trainer import Trainer
from tests.model.support.cuttings import columns_and_intervals, cut, save, savers, state_at, uncut
from tests.model.support.small import same_end, small_run
from tests.swift import SwiftStore

LAYOUT = Layout("native", micro_batch=4)


@pytest.fixture
def remote(swift: SwiftStore, monkeypatch: pytest.MonkeyPatch) -> Lake:
    for name, value in swift.environment().items():
        monkeypatch.setenv(name, value)
    return Lake.open(f"s3://{swift.bucket('training')}/lake")


def test_checkpoints_in_s3(remote: Lake, lake: Lake, tmp_path: Path) -> None:
    boxes, cache = columns_and_intervals(1, 2), tmp_path / "cache"
    saved = [
        [save(launched, step, boxes) for step in (0, 4, 8)]
        for launched in (savers(one, cache, 2, retention=Retention(full=2)) for one in (remote, lake))
    ]
    assert saved[0] == saved[1], "wherever the lake lies"
    found = [read_checkpoint(remote, "run", step) for step in (0, 4, 8)]
    assert [one.pruned for one in found] == [True, False, False]
    objects = [{entry.path for entry in one.list("runs")} for one in (remote, lake)]
    assert objects[0] == objects[1]

    damaged = f"{found[2].folder}/{found[2].files[-1].object}"
    remote.write(damaged, remote.read(damaged)[:-8])
    refused: list[int] = []
    newest = newest_good(remote, "run", cache, lambda step, reason: refused.append(step))
    assert newest == found[1] and refused == [8]
    with open_state(remote, newest, cache) as state:
        for one in cut(state_at(4), uncut())[0]:
            assert torch.equal(state.read(one.name, one.kind, one.box), one.values)
    assert [path for path in cache.rglob("*") if path.is_file()] == [], "no copies are left"


def test_a_run_in_s3_ends_as_a_local_one(remote: Lake, lake: Lake, tmp_path: Path) -> None:
    config = small_run(lake, tmp_path / "text", steps=8)
    small_run(remote, tmp_path / "text again", steps=8)
    trainer(lake, config, tmp_path / "cache").train()

    interrupted = trainer(remote, config, tmp_path / "remote cache")
    interrupted.engine.update = _fail_at(interrupted, 6)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="lost"):
        interrupted.train()
    assert committed_steps(remote, config.key) == [0, 4]
    newest = read_checkpoint(remote, config.key, 4)
    damaged = f"{newest.folder}/{newest.files[0].object}"
    remote.write(damaged, remote.read(damaged)[:-8])
    trainer(remote, config, tmp_path / "remote cache").train()
    torch.use_deterministic_algorithms(False)

    assert same_end(lake, remote, config)
    events = [event["event"] for event in read_logbook(remote, config.key)]
    assert events.count("checkpoint_refused") == 1 and "error" in events
    tokens = torch.arange(32)[None]
    models = [load_checkpoint(one, config.key, 8, tmp_path / "scores") for one in (lake, remote)]
    assert torch.equal(models[0](tokens), models[1](tokens))


def trainer(lake: Lake, config: RunConfig, cache: Path) -> Trainer:
    launch = Launch(lake, config, LAYOUT, cache, NEWEST_TWO)
    engine = make_engine(config, LAYOUT)
    records = Records(launch, engine)
    accounting = open_accounting(lake, config, LAYOUT)
    return Trainer(launch, engine, records, accounting.clock, open_observers(launch, records, accounting))


def _fail_at(interrupted: Trainer, step: int) -> Any:
    original = interrupted.engine.update

    def update(*arguments: Any) -> Any:
        if interrupted.train_state.step == step:
            interrupted.checkpoints.settle()  # what is being saved would be given up
            raise RuntimeError("the machine was lost")
        return original(*arguments)

    return update
