"""`millrace train`: two ranks, one that dies, runs that are stopped and cancelled, and docs/training.md as it is."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.store.lake import Lake
from model.checkpoints.manifest import committed_steps, read_checkpoint
from model.observers.losses import read_losses
from model.supervision.logbook import read_logbook
from model.supervision.progress import read_progress
from tasks.runs import run_keys
from tests.flows.conftest import Millrace, build

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
A_RUN, ANOTHER_LAYOUT, FROM_A_CHECKPOINT, WHILE_IT_TRAINS, WHAT_CAME_OUT = (
    block.splitlines() for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
)

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
    build(
        millrace,
        lake,
        pages[:1],
        "--set",
        "tokenizer.vocabulary_size=1024",
        "--set",
        "tokens.validation=0.2",
        "--name",
        "corpus/crawl",
    )
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
def test_a_dead_rank_changes_nothing(
    millrace: Millrace, corpus: Path, unbroken: dict[str, Any], tmp_path: Path, moment: str
) -> None:
    """The run is started again, and goes on from its newest good checkpoint."""
    fault = {"MILLRACE_FAULT": moment, "MILLRACE_FAULT_FOLDER": str(tmp_path)}
    label = moment.rpartition(":")[0].replace(".", "-")
    arguments = ["train", "tiny-pythia", "--lake", str(corpus), *SETTINGS, "--set", f"label={label}"]
    broken = Millrace({**millrace.environment, **fault}).json(*arguments)
    assert (tmp_path / "reached").exists()
    lake = Lake(str(corpus))
    assert "resume" in [event["event"] for event in read_logbook(lake, broken["run"])]
    assert _trace(lake, broken["run"]) == _trace(lake, unbroken["run"])
    assert committed_steps(lake, broken["run"]) == [0, 8, 16, 24]


def test_a_run_is_created_without_being_started(millrace: Millrace, corpus: Path) -> None:
    arguments = ["tiny-pythia", "--lake", str(corpus), *SETTINGS, "--set", "label=created"]
    created = millrace.json("train", *arguments, "--create-only")
    assert (created["state"], created["checkpoints"], created["label"]) == ("created", [], "created")
    assert read_logbook(Lake(str(corpus)), created["run"]) == []
    assert created["run"] in run_keys(Lake(str(corpus)))


def test_a_gpu_that_is_not_there_is_told_at_once(millrace: Millrace, corpus: Path) -> None:
    arguments = ["tiny-pythia", "--lake", str(corpus), *SETTINGS, "--set", "label=gpu", "--layout", "device=cuda"]
    done = millrace.run("train", *arguments, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert "failed: ValueError: layout: device is cuda, but PyTorch" in done.stderr and "finds no GPU" in done.stderr


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
        (["tiny-pythia", "--set", "layout.data=0"], "layout.data: Input should be greater than or equal to 1"),
        (["tiny-pythia", "--set", "epochs=99", "--layout", "data=3"], "a batch of 16 sequences is not a multiple of"),
        (["tiny-pythia", "--set", "training.steps=1000000"], "lower steps or batch, add tokens, or allow more epochs"),
        (["--from", "beef"], "0 runs of"),
        ([], "give a preset, or the checkpoint of a run to start from"),
        (["tiny-pythia", "--corpus", "corpus/unheard-of"], "has no name corpus/unheard-of"),
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


class Training:
    """`millrace train` in the background."""

    def __init__(self, millrace: Millrace, lake: Lake, label: str, *arguments: str) -> None:
        self.lake, self.label, self._began = lake, label, time.time()
        command = [str(Path(sys.executable).with_name("millrace")), "train", "--lake", lake.uri, "--json", *arguments]
        self.process = subprocess.Popen(
            [*command, "--new", label],
            env=millrace.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def run(self) -> str | None:
        """The key of the run, once it is written down."""
        labels = {key: self.lake.read_json(f"runs/{key}/run.json")["label"] for key in run_keys(self.lake)}
        return next((key for key, label in labels.items() if label == self.label), None)

    def wait(self) -> str:
        """Come back when it makes steps; gives the run's key."""
        eventually(self._trains)
        assert self.run is not None
        return self.run

    def _trains(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()
        progress = None if self.run is None else read_progress(self.lake, self.run)
        return progress is not None and progress.state == "training" and progress.updated > self._began

    def end(self) -> tuple[int, str]:
        """The exit status and the last line of output."""
        told, errors = self.process.communicate(timeout=300)
        assert "Traceback" not in errors, errors
        return self.process.returncode, told.rstrip().rpartition("\n")[2]


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for the condition, at most five minutes."""
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def processes_of(run: str) -> list[str]:
    """The command lines of all processes that name the run."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found += [line.decode().replace("\0", " ")] if run.encode() in line else []
    return found


def test_a_run_that_trains_is_asked_stopped_resumed_and_cancelled(millrace: Millrace, corpus: Path) -> None:
    """As docs/training.md says; two ranks, in the end told to leave by the death of their flow."""
    lake = Lake(str(corpus))
    long = [f"training.{name}=4000" for name in ("steps", "schedule.decay", "checkpoints.every")]
    settings = [word for setting in (*long, "epochs=199") for word in ("--set", setting)]
    arguments = ["tiny-pythia", *SETTINGS, *settings, "--layout", "grace_seconds=29"]
    training = Training(millrace, lake, "long", *arguments)
    run = training.wait()
    for line in WHILE_IT_TRAINS:
        told = millrace.run(*shlex.split(line.replace("RUN", run[:12]))[1:], "--lake", lake.uri, USER="ann")
        assert told.returncode == 0, told.stderr
    status, told_last = training.end()
    ended = json.loads(told_last)
    assert (status, ended["state"]) == (0, "stopped")
    step = ended["step"]
    assert ended["stopped"] == f"the run {run[:12]} was stopped at step {step} by ann; start it again to resume"
    assert committed_steps(lake, run)[-1] == step
    states = _newest_flow_state(millrace)
    assert (states["type"], states["name"], states["message"]) == ("COMPLETED", "Stopped", ended["stopped"])

    again = Training(millrace, lake, "long", *arguments)
    assert again.wait() == run
    os.kill(again.process.pid, signal.SIGTERM)
    status, _ = again.end()
    assert status == -signal.SIGTERM
    *_, terminated = read_logbook(lake, run)
    assert (terminated["event"], terminated["signal"]) == ("terminated", "SIGTERM")
    assert [event["step"] for event in read_logbook(lake, run) if event["event"] == "resume"] == [step]
    assert committed_steps(lake, run)[-1] == terminated["step"]
    assert processes_of(run) == []
    changes = [event for event in read_logbook(lake, run) if event["event"] == "course"]
    assert [(event["cause"], event["who"]) for event in changes] == [("the norm rises", "ann")]


def _newest_flow_state(millrace: Millrace) -> dict[str, Any]:
    asked = {"sort": "START_TIME_DESC", "limit": 1, "flows": {"name": {"any_": ["train-model"]}}}
    user, _, secret = millrace.environment["PREFECT_API_AUTH_STRING"].partition(":")
    answer = httpx.post(f"{millrace.environment['PREFECT_API_URL']}/flow_runs/filter", json=asked, auth=(user, secret))
    [found] = answer.raise_for_status().json()
    state: dict[str, Any] = found["state"]
    return state


def test_the_page_on_training_works_as_shown(millrace: Millrace, corpus: Path, tmp_path: Path) -> None:
    lake = Lake(str(corpus))

    def call(line: str, names: dict[str, str], status: int = 0) -> str:
        name, *words = shlex.split(re.sub("|".join(names) or "^$", lambda found: names[found[0]], line))
        assert name == "millrace"
        done = millrace.run(*words, MILLRACE_LAKE=str(corpus), COLUMNS="200")
        assert done.returncode == status, f"{line}: {done.stderr}{done.stdout}"
        return done.stdout

    before = set(run_keys(lake))
    told = [call(line, {}) for line in A_RUN]
    [run] = set(run_keys(lake)) - before
    assert f"run {run[:12]}: 32 of 32 steps" in told[0] and ", validation loss " in told[0]
    assert re.search(rf"{run[:12]}.*finished.*32 of 32", told[1])
    launches = len(read_logbook(lake, run))
    [line] = ANOTHER_LAYOUT
    assert f"run {run[:12]}: 32 of 32 steps" in call(line, {})
    assert len(read_logbook(lake, run)) == launches, "a finished run is not launched again"

    names = {"RUN": run[:12]}
    for line, steps in zip(FROM_A_CHECKPOINT, (40, 32), strict=True):
        known = set(run_keys(lake))
        told_of_it = call(line, names)
        [other] = set(run_keys(lake)) - known
        assert f"run {other[:12]} started from {run[:12]}@16" in told_of_it
        assert f"run {other[:12]}: {steps} of {steps} steps" in told_of_it
        records = read_losses(lake, other)
        assert [record.step for record in records] == list(range(17, steps + 1))
        # The same data and the same state: the first step computes what the other run did.
        [theirs] = [record for record in read_losses(lake, run) if record.step == 17]
        assert (records[0].sequences, records[0].first_sequence) == (theirs.sequences, theirs.first_sequence)
        assert records[0].loss == pytest.approx(theirs.loss, rel=1e-6)
    assert other in run_keys(lake) and lake.read_json(f"runs/{other}/run.json")["label"] == "lower-rate"

    names |= {"OTHER": other[:12], "exported": str(tmp_path / "exported")}
    for line in WHAT_CAME_OUT:
        assert call(line, names, status=1 if " compare " in line else 0)
    assert (tmp_path / "exported" / "config.json").exists()
