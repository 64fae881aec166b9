"""`millrace stop`, `save-now`, `change` and `compare`, without a trainer."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
from typer.testing import CliRunner, Result

from flows.cli.compare import compare
from flows.cli.runs import WAIT_SECONDS, change, save_now, stop
from infra.store.lake import Lake
from model.checkpoints.manifest import Checkpoint, commit
from model.observers.losses import Losses, read_losses
from model.run.config import create_run
from model.run.events import Course, read_events
from model.run.origin import Origin
from model.supervision.control import Control, Request
from model.supervision.progress import ProgressWriter
from tests.model.support.small import small_run
from tests.model.test_comparison import RECORDS

application = typer.Typer()
for command in (stop, save_now, change, compare):
    application.command()(command)


class Run:
    """A run in a lake, and what its trainer would do."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lake = folder, Lake.open(str(folder / "lake"))
        self.config = small_run(self.lake, folder / "text")
        self.key = self.config.key
        self.progress = ProgressWriter(self.lake, self.key, 24, "one")
        self.progress.write("training", 5, 4.0, 100, None)
        self.control = Control(self.lake, self.key, "one", clock=lambda: 0.0)

    def asked(self) -> list[Request]:
        return Control(self.lake, self.key, "another").poll(6)

    def call(self, command: str, *arguments: str) -> Result:
        return CliRunner().invoke(application, [command, *arguments, "--lake", self.lake.uri])

    def json(self, command: str, *arguments: str, code: int = 0) -> dict[str, Any]:
        done = self.call(command, *arguments, "--json")
        assert done.exit_code == code, done.output
        values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return values


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_stop_and_save_now_ask(run: Run) -> None:
    save = run.json("save-now", run.key[:8], "--who", "ann")
    assert save["run"] == run.key and save["answer"] is None
    run.json("stop", run.key[:8], "--save", "--who", "bob")
    # The poll gives the stop only to a launch that was there before it.
    requests = {one.id: one for one in run.control.poll(5)}
    assert [(one.kind, one.who, one.save) for one in requests.values()] == [
        ("save_now", "ann", False),
        ("stop", "bob", True),
    ]
    assert save["request"] in requests


def test_waiting_ends_with_the_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wait of the command gives the trainer a turn; nobody sleeps."""
    turns: list[float] = []

    def turn(seconds: float) -> None:
        turns.append(seconds)
        if len(turns) == 3:
            (request,) = run.control.poll(9)
            run.control.answer(request.id, 9, "done")

    monkeypatch.setattr(time, "sleep", turn)
    told = run.json("stop", run.key, "--save", "--wait")
    assert told["answer"] == {"outcome": "done", "step": 9, "launch": "one"} and turns == [WAIT_SECONDS] * 3


def test_waiting_ends_with_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: run.progress.write("failed", 6, 4.0, 100, None))
    assert "did not answer" in run.json("save-now", run.key, "--wait", code=1)["error"]


@pytest.mark.parametrize("state", ["finished", "failed"])
@pytest.mark.parametrize("command", ["stop", "save-now"])
def test_a_run_that_does_not_train_is_not_asked(run: Run, command: str, state: Any) -> None:
    run.progress.write(state, 24, 4.0, 100, None)
    assert f"is not training: its state is '{state}'" in run.json(command, run.key, code=1)["error"]
    assert run.asked() == []


def test_a_change_is_asked_and_recorded(run: Run) -> None:
    run.json("change", run.key[:8], "--set", "learning_rate=3e-5", "--set", "clip=0.3", "--cause", "the norm rises")
    (request,) = run.control.poll(5)
    course = run.control.accept(request, Course(8, read_events(run.lake, run.key)), 7)
    plan = course.at(7)
    assert (plan.rate(1.0), plan.clip, course.at(6).clip) == (3e-5, 0.3, None)
    assert course.events[0].cause == "the norm rises"


def test_data_is_left_out_from_the_command_line(run: Run) -> None:
    run.json("change", run.key, "--skip", "100:120", "--cause", "bad crawl")
    (request,) = run.control.poll(5)
    assert (request.kind, request.first, request.stop) == ("skip_data", 100, 120)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "clip=a"], "'a' is not a number"),
        (["--set", "clip=-1"], "clip is -1.0"),
        (["--set", "batch=4"], "'batch' is not one of learning_rate"),
        (["--set", "learning_rate=1e-4", "--set", "learning_rate_factor=2"], "exclude each other"),
        (["--skip", "7"], "give FIRST:STOP"),
        (["--skip", "9:7"], "sequences 9 to 7"),
        ([], "either --set or --skip"),
    ],
)
def test_a_change_that_cannot_be_is_told_at_once(run: Run, arguments: list[str], message: str) -> None:
    assert message in run.json("change", run.key, "--cause", "why", *arguments, code=1)["error"]
    assert run.asked() == []


def test_a_change_needs_a_cause(run: Run) -> None:
    assert run.call("change", run.key, "--set", "clip=1").exit_code == 2
    assert "cause is empty" in run.json("change", run.key, "--set", "clip=1", "--cause", "", code=1)["error"]


def test_compare_ends_with_1_when_results_differ(tmp_path: Path) -> None:
    runs = [Run(tmp_path / name) for name in ("a", "b")]
    for one, loss in zip(runs, (1.0, 1.5), strict=True):
        losses = Losses(one.lake, one.key)
        for record in RECORDS[:-1]:
            losses.on_step_end(record)
        losses.on_step_end(replace(RECORDS[-1], loss=loss))
        losses.commit(4)
        commit(one.lake, Checkpoint(one.key, 4, "", {}, ()))
    assert len(read_losses(runs[0].lake, runs[0].key)) == 4
    key, other, picture = runs[0].key[:8], runs[1].lake.uri, tmp_path / "loss.svg"
    same = runs[0].json("compare", key, key)
    assert same["same"] and same["configuration"] == []
    differ = runs[0].json("compare", key, key, "--other-lake", other, "--plot", str(picture), code=1)
    (trace,) = (trace for trace in differ["traces"] if trace["field"] == "loss")
    assert trace["first"] == 4 and trace["largest"] == pytest.approx(1 / 3)
    drawn = ElementTree.fromstring(picture.read_text())
    lines = [one for one in drawn.iter("{http://www.w3.org/2000/svg}path") if "line" in one.get("class", "").split()]
    assert len(lines) == 2 and lines[0].get("d") != lines[1].get("d")
    assert all(f"{name}: {runs[0].key[:12]}" in picture.read_text() for name in ("first", "second"))
    refused = runs[0].json("compare", key, key, "--other-lake", other, "--plot", str(tmp_path / "loss.png"), code=1)
    assert "does not end in .svg" in refused["error"] and not (tmp_path / "loss.png").exists()
    shown = runs[0].call("compare", key, key, "--other-lake", other)
    assert shown.exit_code == 1 and "differ in: loss (first at step 4)" in shown.stdout


def test_compare_tells_what_a_run_goes_on_from(run: Run) -> None:
    child = replace(run.config, label="child", origin=Origin(run.key, 4, "digest", 32))
    create_run(run.lake, child)
    for config, records in ((run.config, RECORDS), (child, [replace(one, step=one.step + 4) for one in RECORDS])):
        losses = Losses(run.lake, config.key)
        for record in records:
            losses.on_step_end(record)
        losses.commit(records[-1].step)
        commit(run.lake, Checkpoint(config.key, 4, "", {}, ()))
    shown = run.call("compare", run.key, child.key)
    assert shown.exit_code == 1 and "differ in: the recorded steps." in shown.stdout
    words = " ".join(shown.stdout.split())
    assert (
        f"{child.key[:12]} continues from {run.key[:12]}@4." in words
        and "The runs have no recorded step in common." in words
    )


@pytest.mark.parametrize(
    ("steps", "words"), [(0, "Neither run has recorded a step"), (3, "no common checkpoint at step 3, the last")]
)
def test_compare_says_no_more_than_it_knows(run: Run, steps: int, words: str) -> None:
    losses = Losses(run.lake, run.key)
    for record in RECORDS[:steps]:
        losses.on_step_end(record)
    losses.flush()
    shown = run.call("compare", run.key, run.key)
    assert shown.exit_code == 1 and words in " ".join(shown.stdout.split())


def test_a_run_that_is_not_there(run: Run) -> None:
    for command in (["stop", "zz"], ["change", "zz", "--set", "clip=1", "--cause", "c"], ["compare", "zz", run.key]):
        assert "0 runs" in run.json(*command, code=1)["error"]
