"""A run: what decides its identity, what is refused, that it learns, and that it goes on with its own data alone."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from infra.store.errors import Corrupt
from infra.store.lake import Lake
from model.analysis.trace import documents_in
from model.checkpoints.files import open_state
from model.checkpoints.manifest import commit, committed_steps, newest_good, read_checkpoint
from model.layout import Layout
from model.observers.losses import read_losses
from model.order import NeoxOrder
from model.run.config import RunConfig, create_run, read_run, run_config
from model.run.data import open_order, open_validation
from model.state.boxes import whole
from model.supervision.logbook import read_logbook
from model.supervision.progress import read_progress
from model.train import make_engine
from model.training.records import Superseded
from model.training.stepping import Diverged, Stepper
from model.training.verification import Verification
from tests.model.support.small import small_run, training_values
from tests.model.support.trained import train_here


@pytest.fixture(autouse=True)
def _streams_as_before() -> Iterator[None]:
    """Training seeds this process's generator; other tests get back what they had."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, RunConfig]:
    folder = tmp_path_factory.mktemp("trained")
    lake = Lake.open(str(folder / "lake"))
    config = small_run(lake, folder / "text")
    train_here(lake, config, folder / "cache")
    return lake, config


def test_a_run_learns_and_keeps_its_schedule(trained: tuple[Lake, RunConfig]) -> None:
    lake, config = trained
    losses = read_losses(lake, config.key)
    assert [record.step for record in losses] == list(range(1, 25))
    assert losses[0].loss is not None and losses[-1].loss is not None
    assert losses[0].loss - losses[-1].loss >= 0.5
    assert losses[-1].tokens == 24 * 8 * 32
    assert [record.first_sequence for record in losses] == [8 * step for step in range(24)]
    assert [record.learning_rate for record in losses] == [config.training.schedule.at(step) for step in range(24)]
    progress = read_progress(lake, config.key)
    assert progress is not None and (progress.state, progress.step, progress.loss) == ("finished", 24, losses[-1].loss)
    checkpoints = [read_checkpoint(lake, config.key, step) for step in committed_steps(lake, config.key)]
    assert [one.step for one in checkpoints] == [0, 4, 8, 12, 16, 20, 24]
    assert [one.parent for one in checkpoints] == ["", *(one.digest for one in checkpoints[:-1])]
    # Whole state for the newest two, weights for the rest.
    assert [one.step for one in checkpoints if not one.pruned] == [20, 24]


def test_step_0_is_the_untrained_model(trained: tuple[Lake, RunConfig], tmp_path: Path) -> None:
    lake, config = trained
    engine = make_engine(config, Layout())
    torch.use_deterministic_algorithms(False)
    with open_state(lake, read_checkpoint(lake, config.key, 0), tmp_path) as state:
        for one in engine.state():
            if one.kind == "weight":
                assert torch.equal(state.read(one.name, one.kind, whole(one.shape)), one.values)


def test_a_finished_run_says_so(trained: tuple[Lake, RunConfig], tmp_path: Path) -> None:
    lake, config = trained
    before = len(read_logbook(lake, config.key))
    trainer = train_here(lake, config, tmp_path)
    assert trainer.train_state.step == 24 and len(read_logbook(lake, config.key)) == before


def test_a_run_begins_with_the_checkpoint_of_another(trained: tuple[Lake, RunConfig], tmp_path: Path) -> None:
    """From step 24 of the other, with its moments and its place in the data, to step 32."""
    lake, parent = trained
    end = read_checkpoint(lake, parent.key, 24)
    values = parent.to_plain()
    values["training"]["steps"] = 32
    values["origin"] = {"run": parent.key, "step": 24, "digest": end.digest, "next_sequence": 24 * 8}
    config = run_config(values)
    assert config.key != parent.key
    create_run(lake, config)
    train_here(lake, config, tmp_path)
    assert committed_steps(lake, config.key) == [24, 28, 32]
    first = read_checkpoint(lake, config.key, 24)
    assert first.parent == end.digest and [file.sha256 for file in first.files] == [file.sha256 for file in end.files]
    losses = read_losses(lake, config.key)
    assert [record.step for record in losses] == list(range(25, 33))
    assert [record.first_sequence for record in losses] == [24 * 8 + 8 * step for step in range(8)]
    assert losses[-1].tokens == 32 * 8 * 32
    # In other data it would begin at the first sequence.
    anew = run_config({**values, "origin": {**values["origin"], "next_sequence": 0}})
    create_run(lake, anew)
    train_here(lake, anew, tmp_path / "anew")
    assert [record.first_sequence for record in read_losses(lake, anew.key)] == [8 * step for step in range(8)]
    with pytest.raises(Corrupt, match="create the run again"):
        other = run_config({**values, "origin": {**values["origin"], "digest": "0" * 64}})
        create_run(lake, other)
        train_here(lake, other, tmp_path)


def test_other_tokens_are_refused(lake: Lake, tmp_path: Path) -> None:
    """The fingerprint is checked on resume: a checkpoint of other data is not taken up."""
    config = small_run(lake, tmp_path / "text", steps=4)
    train_here(lake, config, tmp_path / "cache")
    lake.delete(f"{read_checkpoint(lake, config.key, 4).folder}/manifest.json")
    checkpoint = read_checkpoint(lake, config.key, 0)
    commit(lake, replace(checkpoint, trainer=checkpoint.trainer | {"fingerprint": "0" * 64}))
    with pytest.raises(ValueError, match="restore the token files with which the run began"):
        train_here(lake, config, tmp_path / "cache")
    assert read_logbook(lake, config.key)[-1]["event"] == "error"
    progress = read_progress(lake, config.key)
    assert progress is not None and progress.state == "failed"


def test_changed_token_files_are_refused(lake: Lake, tmp_path: Path) -> None:
    config = small_run(lake, tmp_path / "text")
    path = config.sources[0].files[0].bin.path
    lake.write(path, lake.read(path)[:-2] + b"\x00\x00")
    with pytest.raises(Corrupt, match="changed after it was written"):
        train_here(lake, config, tmp_path / "cache")
    assert read_logbook(lake, config.key)[-1]["error"] == "Corrupt"


def test_identity_is_what_decides_the_result(lake: Lake, tmp_path: Path) -> None:
    config = small_run(lake, tmp_path)
    values = config.to_plain()
    assert read_run(lake, config.key) == config and create_run(lake, config) == config.key
    training = values["training"]
    changed = [
        values | {"seed": 8},
        values | {"label": "second try"},
        values | {"model": values["model"] | {"layers": 3}},
        values | {"training": training | {"threads": 2}},
        values | {"training": training | {"precision": "bf16"}},
        values | {"training": training | {"spikes": {}}},
        values | {"sources": values["sources"][:1]},
        values | {"origin": {"run": "0" * 64, "step": 4, "digest": "1" * 64, "next_sequence": 32}},
    ]
    assert len({config.key, *(run_config(one).key for one in changed)}) == 1 + len(changed)
    renamed = json.loads(json.dumps(values))
    renamed["sources"][0]["bin"]["name"] = "another name for the same bytes"
    assert run_config(renamed).key == config.key
    lake.write_json(f"runs/{config.key}/run.json", changed[0])
    with pytest.raises(Corrupt, match="create the run again"):
        read_run(lake, config.key)
    # Before `compat` there was `order`, in format 2.
    lake.write_json(f"runs/{config.key}/run.json", values | {"format": 2, "training": training | {"order": "neox"}})
    with pytest.raises(Corrupt, match="format 2 is not 3; use the version that wrote it"):
        read_run(lake, config.key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"architecture": "bert"}}, "must be one of"),
        ({"engine": "native"}, "no field 'engine'"),
        ({"format": 2}, "format 2"),
        ({"sources": []}, "at least one token file"),
        ({"training": training_values(batch=0)}, "batch is 0"),
        ({"training": training_values(sequence_length=64)}, "the model has 32 positions"),
        ({"training": training_values(optimizer={"betas": [0.9], "epsilon": 1e-8})}, "betas has 1 entries"),
        ({"training": training_values(checkpoints={"kind": "often", "every": 1})}, "one of every, pythia"),
        ({"training": training_values(precision="fp16")}, "fp16 needs a scaler"),
        ({"training": training_values(scaler={})}, "fp16 needs a scaler"),
        ({"training": training_values(scaler={"windows": 3}, precision="fp16")}, "no field 'windows'"),
        ({"training": training_values(packing="blocks", compat="neox")}, "not available with compat neox"),
        ({"training": training_values(split=[995, 4, 1])}, "split needs compat neox"),
        ({"training": training_values(split=[0, 4, 1], compat="neox")}, "shares must be at least 0"),
        ({"training": training_values(split=[995, 4], compat="neox")}, "split has 2 entries; it must have 3"),
        (
            {"training": training_values(split=[995, 4, 1], compat="neox")},
            "needs exactly one source, and the run has 2",
        ),
        ({"training": training_values(validation={"every": 4, "sequences": 8})}, "needs validation tokens"),
        ({"training": training_values(reset_boundaries=True)}, "needs end_of_document"),
        ({"origin": {"run": "a", "step": 24, "digest": "b", "next_sequence": 0}}, "must be above 24"),
    ],
)
def test_bad_configurations_are_refused(change: dict[str, Any], message: str, lake: Lake, tmp_path: Path) -> None:
    values = small_run(lake, tmp_path).to_plain()
    with pytest.raises(ValueError, match=message):
        run_config(values | change)


def test_a_run_splits_its_documents_as_gpt_neox_does(lake: Lake, tmp_path: Path) -> None:
    """It trains on the first of them and validates on the next, of one file."""
    values = small_run(lake, tmp_path / "text").to_plain()
    changes = {"compat": "neox", "split": [14, 5, 1], "validation": {"every": 4, "sequences": 8}, "steps": 8}
    config = run_config(values | {"training": training_values(**changes), "sources": values["sources"][:1]})
    create_run(lake, config)
    assert read_run(lake, config.key) == config
    order, validation = (opens(lake, config, tmp_path / "cache") for opens in (open_order, open_validation))
    assert isinstance(order, NeoxOrder) and isinstance(validation, NeoxOrder)
    assert (order.part, order.samples) == (range(14), 64)
    assert (validation.part, validation.samples) == (range(14, 19), 24)
    assert {span.document for index in range(64) for span in documents_in(order, index)} <= set(range(14))
    assert {span.document for index in range(8) for span in documents_in(validation, index)} <= set(range(14, 19))
    train_here(lake, config, tmp_path / "cache")
    assert [one.step for one in read_losses(lake, config.key) if one.validation_loss is not None] == [4, 8]


def test_a_run_longer_than_its_data_is_refused(lake: Lake, tmp_path: Path) -> None:
    config = small_run(lake, tmp_path / "text", steps=10**6)
    with pytest.raises(ValueError, match="allow more epochs"):
        train_here(lake, config, tmp_path)
    assert [event["event"] for event in read_logbook(lake, config.key)] == ["error"]


def test_divergence_ends_the_run_before_it_is_kept(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_run(lake, tmp_path / "text")
    verdict = Stepper._verdict
    monkeypatch.setattr(Stepper, "_verdict", lambda self, loss, norm, scale: verdict(self, math.nan, norm, scale))
    with pytest.raises(Diverged, match="step 1: loss nan"):
        train_here(lake, config, tmp_path)
    assert committed_steps(lake, config.key) == [0]


def test_when_no_checkpoint_will_do_the_run_does_not_begin_again(lake: Lake, tmp_path: Path) -> None:
    """Its weights would be overwritten, step by step."""
    config = small_run(lake, tmp_path / "text", steps=4)
    train_here(lake, config, tmp_path / "cache")
    for step in committed_steps(lake, config.key):
        checkpoint = read_checkpoint(lake, config.key, step)
        path = f"{checkpoint.folder}/{checkpoint.files[0].object}"
        lake.write(path, lake.read(path)[:-1])
    with pytest.raises(Corrupt, match=r"none of its checkpoints \[0, 4\] is usable"):
        train_here(lake, config, tmp_path / "cache")
    assert [one["step"] for one in read_logbook(lake, config.key) if one["event"] == "checkpoint_refused"] == [4, 0]


def test_a_launch_ends_when_another_has_taken_over(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The later one trains to the end in the middle of a step of the other, which must then touch nothing more."""
    config = small_run(lake, tmp_path / "text")
    carry_out, left = Stepper.apply, []

    def interrupted(self: Stepper, judged: Any) -> Any:
        if self.train_state.step == 2 and not left:
            left.append(self)
            train_here(lake, config, tmp_path / "another cache")
            left.append(sorted((entry.path, entry.size) for entry in lake.list(f"runs/{config.key}/checkpoints")))
        return carry_out(self, judged)

    monkeypatch.setattr(Stepper, "apply", interrupted)
    with pytest.raises(Superseded, match="has taken over this run"):
        train_here(lake, config, tmp_path / "cache")
    assert sorted((entry.path, entry.size) for entry in lake.list(f"runs/{config.key}/checkpoints")) == left[1]
    assert len(read_losses(lake, config.key)) == 24
    progress = read_progress(lake, config.key)
    assert progress is not None and progress.state == "finished"


def test_files_are_verified_by_all_ranks_together(lake: Lake, tmp_path: Path) -> None:
    """Two ranks in threads, a corrupt checkpoint and a good one: each file is read once, and both ranks go on alike."""
    config = small_run(lake, tmp_path / "text", steps=8)
    train_here(lake, config, tmp_path / "cache")
    newest = read_checkpoint(lake, config.key, 8)
    path = f"{newest.folder}/{newest.kept[0].object}"
    lake.write(path, lake.read(path)[:-1])
    meeting, slots = threading.Barrier(2, timeout=60), [None, None]

    def rank(number: int) -> Any:
        def gather(value: Any) -> list[Any]:
            slots[number] = value
            meeting.wait()
            values = list(slots)
            meeting.wait()
            return values

        engine: Any = SimpleNamespace(rank=number, ranks=2, gather=gather)
        verification = Verification(lake, engine, tmp_path / f"cache-{number}")
        if number:
            return verification.follow()
        reports: list[int] = []
        found = newest_good(
            *(lake, config.key, tmp_path / "cache", lambda step, reason: reports.append(step)),
            check=verification.verify,
        )
        assert reports == [8]
        return verification.broadcast(found)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(rank, range(2)))
    assert [one.step for one in found] == [4, 4]
