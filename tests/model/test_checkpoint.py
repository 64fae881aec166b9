"""Checkpoints: their bad days, their exactness, and what a resumed run may not lose. One process, native engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from model.checkpoint import commit, committed_steps, newest_good, read_checkpoint
from model.engine import Kind, ReadState
from model.engine.native import NativeEngine
from model.launch import Layout
from model.logbook import read_logbook
from model.losses import read_losses
from model.progress import read_progress
from model.run import RunConfig, create_run, read_run, run_config
from model.slices import open_state
from model.trainer import Diverged, Trainer, make_engine
from tests.model.small import same_end, small_run, training_values

LAYOUT = Layout("native", 1, 4)


class Killed(BaseException):
    """Stands for SIGKILL inside one process."""


def train(lake: Lake, config: RunConfig, cache: Path, until: int | None = None) -> Trainer:
    """One launch; with `until`, it dies before that step."""
    trainer = Trainer(lake, config, LAYOUT, make_engine(config, LAYOUT), cache)
    original = trainer.engine.accumulate

    def accumulate(micro_batches: Any) -> float:
        if trainer.step == until:
            raise Killed
        return original(micro_batches)

    trainer.engine.accumulate = accumulate  # type: ignore[method-assign]
    if until is None:
        trainer.train()
    else:
        with pytest.raises(Killed):
            trainer.train()
    return trainer


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, RunConfig]:
    folder = tmp_path_factory.mktemp("unbroken")
    lake = Lake.open(str(folder / "lake"))
    config = small_run(lake, folder / "text")
    train(lake, config, folder / "cache")
    return lake, config


@pytest.fixture
def broken(tmp_path: Path) -> tuple[Lake, RunConfig, Path]:
    """The same run, dead at step 10 of 24, with checkpoints at 0, 4 and 8."""
    lake = Lake.open(str(tmp_path / "lake"))
    config = small_run(lake, tmp_path / "text")
    train(lake, config, tmp_path / "cache", until=10)
    assert committed_steps(lake, config.key) == [0, 4, 8]
    return lake, config, tmp_path / "cache"


def test_a_run_learns_and_keeps_its_schedule(unbroken: tuple[Lake, RunConfig]) -> None:
    lake, config = unbroken
    losses = read_losses(lake, config.key)
    assert [record.step for record in losses] == list(range(1, 25))
    assert losses[0].loss - losses[-1].loss >= 0.5
    assert losses[-1].tokens == 24 * 8 * 32
    assert [record.learning_rate for record in losses] == [config.training.schedule.at(step) for step in range(24)]
    assert committed_steps(lake, config.key) == [0, 4, 8, 12, 16, 20, 24]
    progress = read_progress(lake, config.key)
    assert progress is not None and (progress.state, progress.step, progress.loss) == ("finished", 24, losses[-1].loss)
    parents = [read_checkpoint(lake, config.key, step).parent for step in (0, 4, 8)]
    assert parents == ["", *(read_checkpoint(lake, config.key, step).digest for step in (0, 4))]


def test_step_0_is_the_untrained_model(unbroken: tuple[Lake, RunConfig], tmp_path: Path) -> None:
    lake, config = unbroken
    engine = make_engine(config, LAYOUT)
    with open_state(lake, read_checkpoint(lake, config.key, 0), tmp_path) as state:
        for one in engine.state():
            assert torch.equal(state.read(one.name, one.kind, 0, one.values.numel()), one.values)


def test_resumed_run_ends_in_the_same_bits(
    unbroken: tuple[Lake, RunConfig], broken: tuple[Lake, RunConfig, Path]
) -> None:
    lake, config, cache = broken
    train(lake, config, cache)
    assert same_end(unbroken[0], lake, config)
    events = [(event["event"], event["step"]) for event in read_logbook(lake, config.key)]
    assert events[:5] == [("launch", 0), ("checkpoint", 0), ("checkpoint", 4), ("checkpoint", 8), ("resume", 8)]


@pytest.mark.parametrize("lost", ["first_moment", "second_moment", "weight", "updates"])
def test_what_restore_forgets_is_seen(
    lost: str, unbroken: tuple[Lake, RunConfig], broken: tuple[Lake, RunConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative controls: with any part of the restored state zeroed, the comparison of the ends must fail."""
    lake, config, cache = broken
    original = NativeEngine.restore

    def restore(self: NativeEngine, read: ReadState, updates: int) -> None:
        def forgetful(name: str, kind: Kind, offset: int, length: int) -> torch.Tensor:
            values = read(name, kind, offset, length)
            return torch.zeros_like(values) if kind == lost else values

        original(self, forgetful, 0 if lost == "updates" else updates)

    monkeypatch.setattr(NativeEngine, "restore", restore)
    train(lake, config, cache)
    assert not same_end(unbroken[0], lake, config)


def damage(lake: Lake, path: str, how: str) -> None:
    data = lake.read(path)
    if how == "deleted":
        lake.delete(path)
    elif how == "cut":
        lake.write(path, data[:-1])
    else:
        middle = len(data) // 2
        lake.write(path, data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


@pytest.mark.parametrize("how", ["flipped", "cut", "deleted"])
@pytest.mark.parametrize("which", ["rank-0.safetensors", "manifest.json"])
def test_a_damaged_checkpoint_is_reported_and_passed_over(
    which: str, how: str, unbroken: tuple[Lake, RunConfig], broken: tuple[Lake, RunConfig, Path]
) -> None:
    lake, config, cache = broken
    damage(lake, f"{read_checkpoint(lake, config.key, 8).folder}/{which}", how)
    train(lake, config, cache)
    refused = [event for event in read_logbook(lake, config.key) if event["event"] == "checkpoint_refused"]
    resumed = [event for event in read_logbook(lake, config.key) if event["event"] == "resume"]
    if (which, how) == ("manifest.json", "deleted"):
        assert not refused, "without its manifest a checkpoint was never there"
    else:
        assert [event["step"] for event in refused] == [8] and "step-000008" in refused[0]["reason"]
    assert [event["step"] for event in resumed] == [4]
    assert same_end(unbroken[0], lake, config)
    assert newest_good(lake, config.key, cache, lambda step, reason: None) is not None
    read_checkpoint(lake, config.key, 8)


@pytest.mark.parametrize("field", ["parent", "fingerprint", "seed", "next_sequence"])
def test_a_manifest_with_another_value_is_refused(field: str, broken: tuple[Lake, RunConfig, Path]) -> None:
    lake, config, _ = broken
    path = f"{read_checkpoint(lake, config.key, 8).folder}/manifest.json"
    values = lake.read_json(path)
    lake.write_json(path, values | {field: values[field] + values[field]})
    with pytest.raises(Corrupt, match="not as it was written"):
        read_checkpoint(lake, config.key, 8)


def test_an_uncommitted_checkpoint_does_not_exist(broken: tuple[Lake, RunConfig, Path]) -> None:
    lake, config, cache = broken
    lake.write(f"runs/{config.key}/checkpoints/step-000012/rank-0.safetensors", b"half")
    newest = newest_good(lake, config.key, cache, lambda step, reason: pytest.fail(reason))
    assert newest is not None and newest.step == 8
    with pytest.raises(NotThere):
        read_checkpoint(lake, config.key, 12)


def test_a_finished_run_says_so(unbroken: tuple[Lake, RunConfig], tmp_path: Path) -> None:
    lake, config = unbroken
    before = len(read_logbook(lake, config.key))
    trainer = train(lake, config, tmp_path)
    assert trainer.step == 24 and len(read_logbook(lake, config.key)) == before


def test_other_tokens_are_refused(broken: tuple[Lake, RunConfig, Path]) -> None:
    """The fingerprint is checked on resume: a checkpoint of other data is not taken up."""
    lake, config, cache = broken
    commit(lake, replace(read_checkpoint(lake, config.key, 8), fingerprint="0" * 64))
    with pytest.raises(ValueError, match="not those that the run began with"):
        Trainer(lake, config, LAYOUT, make_engine(config, LAYOUT), cache).train()
    assert read_logbook(lake, config.key)[-1]["event"] == "error"
    progress = read_progress(lake, config.key)
    assert progress is not None and progress.state == "failed"


def test_changed_token_files_are_refused(broken: tuple[Lake, RunConfig, Path], tmp_path: Path) -> None:
    lake, config, _ = broken
    path = config.sources[0].bin.path
    lake.write(path, lake.read(path)[:-2] + b"\x00\x00")
    with pytest.raises(Corrupt, match="changed after it was written"):
        Trainer(lake, config, LAYOUT, make_engine(config, LAYOUT), tmp_path / "another cache").train()
    assert read_logbook(lake, config.key)[-1]["error"] == "Corrupt"


def test_identity_is_what_decides_the_result(lake: Lake, tmp_path: Path) -> None:
    config = small_run(lake, tmp_path)
    values = config.to_plain()
    assert read_run(lake, config.key) == config and create_run(lake, config) == config.key
    changed = [
        values | {"seed": 8},
        values | {"label": "second try"},
        values | {"model": values["model"] | {"layers": 3}},
        values | {"training": values["training"] | {"threads": 2}},
        values | {"sources": values["sources"][:1]},
    ]
    assert len({config.key, *(run_config(one).key for one in changed)}) == 6
    renamed = json.loads(json.dumps(values))
    renamed["sources"][0]["bin"]["name"] = "another name for the same bytes"
    assert run_config(renamed).key == config.key
    lake.write_json(f"runs/{config.key}/run.json", changed[0])
    with pytest.raises(Corrupt, match="create the run again"):
        read_run(lake, config.key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"architecture": "opt"}}, "must be one of"),
        ({"engine": "native"}, "no field 'engine'"),
        ({"format": 2}, "format 2"),
        ({"sources": []}, "at least one token file"),
        ({"training": training_values(batch=0)}, "batch is 0"),
        ({"training": training_values(sequence_length=64)}, "the model has 32 positions"),
        ({"training": training_values(optimizer={"betas": [0.9], "epsilon": 1e-8})}, "betas has 1 entries"),
        ({"training": training_values(checkpoints={"kind": "often", "every": 1})}, "one of every, pythia"),
    ],
)
def test_bad_configurations_are_refused(change: dict[str, Any], message: str, lake: Lake, tmp_path: Path) -> None:
    values = small_run(lake, tmp_path).to_plain()
    with pytest.raises(ValueError, match=message):
        run_config(values | change)


def test_a_run_longer_than_its_data_is_refused(lake: Lake, tmp_path: Path) -> None:
    config = small_run(lake, tmp_path / "text", steps=10**6)
    with pytest.raises(ValueError, match="allow more epochs"):
        Trainer(lake, config, LAYOUT, make_engine(config, LAYOUT), tmp_path).train()
    assert [event["event"] for event in read_logbook(lake, config.key)] == ["error"]


def test_divergence_ends_the_run_before_it_is_kept(lake: Lake, tmp_path: Path) -> None:
    config = small_run(lake, tmp_path / "text")
    trainer = Trainer(lake, config, LAYOUT, make_engine(config, LAYOUT), tmp_path)
    trainer.engine.update = lambda learning_rate: float("nan")  # type: ignore[method-assign]
    with pytest.raises(Diverged, match="step 1"):
        trainer.train()
    assert committed_steps(lake, config.key) == [0]


@pytest.fixture(autouse=True)
def _torch_as_before() -> Iterator[None]:
    """Training makes torch deterministic in its process; other tests get back what they had."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
    torch.set_rng_state(state)
