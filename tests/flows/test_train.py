"""`millrace train`: two ranks, a rank that dies, and a command that is interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.store.lake import Lake
from model.checkpoint import committed_steps, read_checkpoint
from model.logbook import read_logbook
from model.losses import read_losses
from tests.flows.conftest import Millrace, build

SETTINGS = [
    *("--set", "training.steps=24", "--set", "training.schedule.decay=24", "--set", "training.checkpoints.every=8"),
    *(
        "--set",
        "training.sequence_length=64",
        "--set",
        "model.layers=2",
        "--set",
        "model.width=32",
        "--set",
        "epochs=9",
    ),
]


@pytest.fixture(scope="module")
def corpus(millrace: Millrace, pages: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the tokens of one archive."""
    lake = tmp_path_factory.mktemp("train") / "lake"
    build(millrace, lake, pages[:1], "--set", "tokenizer.vocabulary_size=1024")
    return lake


@pytest.fixture(scope="module")
def unbroken(millrace: Millrace, corpus: Path) -> dict[str, Any]:
    """A run that nobody disturbed."""
    return millrace.json("train", "tiny-pythia", "--lake", str(corpus), *SETTINGS)


def test_a_finished_run_is_not_trained_again(millrace: Millrace, corpus: Path, unbroken: dict[str, Any]) -> None:
    assert unbroken["state"] == "finished"
    assert unbroken["checkpoints"] == [0, 8, 16, 24]
    events = read_logbook(Lake(str(corpus)), unbroken["run"])
    assert millrace.json("train", "tiny-pythia", "--lake", str(corpus), *SETTINGS) == unbroken
    assert read_logbook(Lake(str(corpus)), unbroken["run"]) == events


@pytest.mark.parametrize(
    "moment", ["train.update.13:1", pytest.param("checkpoint.before_manifest:3", marks=pytest.mark.heavy)]
)
def test_a_dead_rank_costs_a_retry_and_changes_nothing(
    millrace: Millrace, corpus: Path, unbroken: dict[str, Any], tmp_path: Path, moment: str
) -> None:
    """The task is tried again by Prefect, and the run goes on from its newest good checkpoint."""
    fault = {"MILLRACE_FAULT": moment, "MILLRACE_FAULT_FOLDER": str(tmp_path)}
    label = moment.rpartition(":")[0].replace(".", "-")
    arguments = ["train", "tiny-pythia", "--lake", str(corpus), *SETTINGS, "--set", f"label={label}"]
    broken = Millrace({**millrace.environment, **fault}).json(*arguments)
    assert (tmp_path / "reached").exists()
    lake = Lake(str(corpus))
    assert "resume" in [event["event"] for event in read_logbook(lake, broken["run"])]
    assert _trace(lake, broken["run"]) == _trace(lake, unbroken["run"])
    assert committed_steps(lake, broken["run"]) == [0, 8, 16, 24]


@pytest.mark.heavy
def test_another_seed_is_another_run(millrace: Millrace, corpus: Path, unbroken: dict[str, Any]) -> None:
    other = millrace.json("train", "tiny-pythia", "--lake", str(corpus), *SETTINGS, "--set", "seed=7")
    assert other["run"] != unbroken["run"]
    assert _trace(Lake(str(corpus)), other["run"]) != _trace(Lake(str(corpus)), unbroken["run"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gpt-9"], "there is no preset gpt-9"),
        (["tiny-pythia", "--set", "training.stepz=3"], "there is no stepz"),
        (["tiny-pythia", "--set", "layout.ranks=0"], "layout.ranks: Input should be greater than or equal to 1"),
        (["tiny-pythia", "--corpus", "corpus/unheard-of"], "nothing is named corpus/unheard-of"),
    ],
)
def test_wrong_input_is_one_short_message(millrace: Millrace, corpus: Path, arguments: list[str], words: str) -> None:
    done = millrace.run("train", *arguments, "--lake", str(corpus))
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def _trace(lake: Lake, run: str) -> list[tuple[object, ...]]:
    """All that a step leaves behind, to the bit, but for the time it took."""
    return [
        (step.step, step.loss, step.gradient_norm, step.learning_rate, step.sequences)
        for step in read_losses(lake, run)
    ]


def test_every_checkpoint_is_named_by_its_digest(corpus: Path, unbroken: dict[str, Any]) -> None:
    lake = Lake(str(corpus))
    digests = [read_checkpoint(lake, unbroken["run"], step).digest for step in unbroken["checkpoints"]]
    assert len(set(digests)) == len(digests)
