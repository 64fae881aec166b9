"""A run that is killed at any moment ends in the bits of the unbroken one, or, in other layouts, close to them."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.store.lake import Lake
from model.checkpoints.manifest import committed_steps
from model.layout import Layout
from model.observers.losses import read_losses
from model.run.config import RunConfig
from model.supervision.launch import launch_command
from model.supervision.logbook import read_logbook
from model.supervision.termination import LEFT_AFTER_SAVING
from tasks import supervisor, training
from tasks.layout_request import LayoutRequest
from tasks.training import TrainingInterrupted
from tests.model.support.forgetful import FORGETTING
from tests.model.support.launches import Moment, finish, launch, living, run_command
from tests.model.support.small import loss_difference, same_end, small_run

EVERY, STEPS = 4, 24
NATIVE = Layout(micro_batch=2)  # four micro-batches a step
DATA_2 = Layout("deepspeed", data=2, zero=1, micro_batch=2)
TENSOR_2 = Layout("deepspeed", tensor=2, micro_batch=4, sequence_parallel=True, recompute="selective")
PIPELINE_2 = Layout("deepspeed", pipeline=2, zero=1, micro_batch=2)
# Dropout draws from the random streams. The scale begins too high and grows again after every four good steps.
DROPOUT = {"dropout": 0.1, "attention_dropout": 0.1}
HALF = {"precision": "fp16", "scaler": {"kind": "deepspeed", "initial": 2.0**21, "window": 4, "hysteresis": 1}}

MIDDLE = Moment("retention.after_manifest")
MOMENTS = [
    Moment("train.before_first_checkpoint"),
    Moment("checkpoint.before_weights"),
    Moment("inside_part"),
    Moment("checkpoint.before_manifest"),
    Moment("checkpoint.after_manifest"),
    Moment("train.after_update.0"),  # an overflow, skipped
    Moment("train.step.1"),
    Moment("micro_batch", 6),  # two micro-batches into the second step
    Moment("train.update.2"),  # the gradient is there, the update is not
    Moment("checkpoint.before_state"),
    Moment("train.after_update.5"),
    Moment("inside_part", 2),  # the weights are there, the moments half
    Moment("checkpoint.before_manifest"),
    Moment("retention.before_manifest"),
    MIDDLE,  # pruned in word, not yet in deed
    Moment("micro_batch", 3),
    Moment("train.step.19"),
    Moment("train.update.23"),
]
# Of each kind one: before the first checkpoint, in a checkpoint, in a step, in pruning, and near the end.
FEW = [
    Moment("inside_part"),
    Moment("checkpoint.after_manifest"),
    Moment("micro_batch", 6),
    Moment("inside_part", 2),
    MIDDLE,
    Moment("train.update.23"),
]
# Of two ranks. The second's part of a checkpoint may be there without the first's, and the other way round.
MOMENTS_OF_RANKS = [
    Moment("train.before_first_checkpoint", rank=1),
    Moment("inside_part", rank=0),
    Moment("checkpoint.before_sidecar", rank=1),
    Moment("checkpoint.before_manifest"),
    Moment("micro_batch", 2, rank=1),
    Moment("train.update.5", rank=0),
    Moment("inside_part", 2, rank=1),
    Moment("checkpoint.after_sidecar", rank=1),
    Moment("checkpoint.after_manifest"),
    Moment("retention.before_manifest"),
    Moment("train.step.15", rank=1),
    Moment("train.update.19", rank=1),
]


class Story:
    """An unbroken run, and the same one that is killed again and again."""

    def __init__(self, folder: Path, layout: Layout, **values: Any) -> None:
        self.folder, self.layout = folder, layout
        self.unbroken, self.killed = (Lake.open(str(folder / name)) for name in ("unbroken", "killed"))
        self.config: RunConfig = small_run(self.unbroken, folder / "text", **values)
        assert small_run(self.killed, folder / "text again", **values).key == self.config.key
        self.kept: list[int | None] = []
        finish(self.unbroken, self.config, layout, folder / "unbroken launch")

    def kill(self, moment: Moment, layout: Layout | None = None) -> None:
        number = len(self.kept)
        status = launch(self.killed, self.config, layout or self.layout, self.folder / f"launch {number}", moment)
        output = (self.folder / f"launch {number}" / "output").read_text()
        assert status != 0 and "Traceback" not in output, f"{moment} was not reached: {output[-4000:]}"
        self.kept.append(max(committed_steps(self.killed, self.config.key), default=None))

    def finish(self, layout: Layout | None = None) -> None:
        finish(self.killed, self.config, layout or self.layout, self.folder / "last launch")

    def same_end(self, other: Lake | None = None) -> bool:
        return same_end(self.unbroken, other or self.killed, self.config)

    def begun(self) -> list[tuple[str, int]]:
        """How the launches of the killed run began: by the checkpoint that they found."""
        events = read_logbook(self.killed, self.config.key)
        return [(event["event"], event["step"]) for event in events if "layout" in event]


def expected(kept: list[int | None]) -> list[tuple[str, int]]:
    """Each launch goes on from the newest checkpoint that the one before left."""
    return [("launch", 0), *(("launch", 0) if step is None else ("resume", step) for step in kept)]


def fallen(lake: Lake, config: RunConfig) -> float:
    """By how much the loss fell, in nats per token."""
    losses = [record.loss for record in read_losses(lake, config.key) if record.loss is not None]
    return losses[0] - losses[-1]


@pytest.mark.parametrize("moments", [FEW, pytest.param(MOMENTS, marks=pytest.mark.heavy)], ids=["few", "all"])
def test_killed_at_every_moment(tmp_path: Path, moments: list[Moment]) -> None:
    """One process in fp16 with dropout, whose loss scale overflows again and again."""
    story = Story(tmp_path, NATIVE, architecture="opt", shape=DROPOUT, **HALF)
    trace = read_losses(story.unbroken, story.config.key)
    skipped = [record.step for record in trace if record.skipped]
    assert skipped[0] == 1 and len(skipped) >= 3 and len({record.scale for record in trace}) >= 2
    assert fallen(story.unbroken, story.config) >= 0.5

    for moment in moments:
        story.kill(moment)
        if moment == MIDDLE:
            copies = {what: Lake.open(str(tmp_path / what)) for what in FORGETTING}
            for copy in copies.values():
                shutil.copytree(story.killed.uri, copy.uri, dirs_exist_ok=True)
    story.finish()

    assert story.same_end()
    assert story.begun() == expected(story.kept)
    first = moments.index(Moment("checkpoint.after_manifest"))
    assert story.kept[: first + 1] == [None] * first + [0]
    # The comparison can fail: who forgets any part of the state is seen.
    for what, copy in copies.items():
        variables = {"FORGOTTEN": what}
        finish(copy, story.config, NATIVE, tmp_path / f"without {what}", "tests.model.support.forgetful", variables)
        assert not story.same_end(copy), what
    # Started once more, it is finished.
    before = read_logbook(story.killed, story.config.key)
    finish(story.killed, story.config, NATIVE, tmp_path / "after the end")
    assert story.same_end() and read_logbook(story.killed, story.config.key) == before


@pytest.mark.heavy
def test_two_ranks_killed_while_they_save(tmp_path: Path) -> None:
    story = Story(tmp_path, DATA_2, architecture="opt", shape=DROPOUT)
    moments = (
        Moment("micro_batch", 2, rank=1),
        Moment("checkpoint.after_sidecar", 2, rank=1),
        Moment("inside_part", 2),
    )
    for moment in moments:
        story.kill(moment)
    story.finish()
    assert story.same_end()
    assert story.begun() == expected(story.kept)
    assert fallen(story.unbroken, story.config) >= 0.5


@pytest.mark.heavy
@pytest.mark.parametrize("layout", [DATA_2, TENSOR_2, PIPELINE_2], ids=["data", "tensor", "pipeline"])
def test_two_ranks_killed_at_every_moment(tmp_path: Path, layout: Layout) -> None:
    story = Story(tmp_path, layout, architecture="opt", shape=DROPOUT)
    # In a pipeline, the last stage alone computes the loss.
    for moment in MOMENTS_OF_RANKS:
        story.kill(moment)
    story.finish()
    assert story.same_end()
    assert story.begun() == expected(story.kept)


CHAIN = [NATIVE, replace(DATA_2, zero=2), TENSOR_2]
LONG_CHAIN = [
    replace(DATA_2, zero=3),
    PIPELINE_2,
    NATIVE,
    replace(DATA_2, zero=0, micro_batch=1),
    TENSOR_2,
    Layout("deepspeed", data=2, tensor=2, zero=1, micro_batch=2),
    replace(DATA_2, zero=2, recompute="whole"),
    Layout("deepspeed", tensor=2, pipeline=2, micro_batch=2),
    Layout("deepspeed", data=4, zero=3, micro_batch=1),
]


def test_resumed_in_other_layouts(tmp_path: Path) -> None:
    story = Story(tmp_path, NATIVE)
    kill_in_layouts(story, CHAIN)


@pytest.mark.heavy
@pytest.mark.parametrize("architecture", ["pythia", "opt", "llama"])
def test_resumed_in_many_layouts(tmp_path: Path, architecture: str) -> None:
    story = Story(tmp_path, NATIVE, architecture=architecture)
    kill_in_layouts(story, LONG_CHAIN)


def kill_in_layouts(story: Story, layouts: list[Layout]) -> None:
    """Go through the layouts, each killed some steps after the last but one checkpoint; the last goes to the end."""
    for number, layout in enumerate(layouts[:-1], 1):
        story.kill(Moment(f"train.update.{number * STEPS // len(layouts)}"), layout)
    story.finish(layouts[-1])
    assert [event["layout"] for event in read_logbook(story.killed, story.config.key) if "layout" in event] == [
        layout.to_plain() for layout in layouts
    ]
    assert loss_difference(story.unbroken, story.killed, story.config) <= 1e-4
    assert fallen(story.killed, story.config) >= 0.5


@pytest.mark.parametrize(
    "layout", [NATIVE, pytest.param(DATA_2, marks=pytest.mark.heavy)], ids=["one process", "two ranks"]
)
def test_told_to_leave(tmp_path: Path, layout: Layout) -> None:
    """SIGTERM to whoever was started: it saves and says so by its status, within the grace that the agent keeps."""
    story = Story(tmp_path, layout, architecture="opt", shape=DROPOUT)
    told = {"TOLD_AT": "train.step.9"}
    assert launch(story.killed, story.config, layout, tmp_path / "told", variables=told) == LEFT_AFTER_SAVING
    # The step in which the signal came was dropped after a micro-batch, and the state before it kept.
    assert committed_steps(story.killed, story.config.key)[-1] == 9
    assert read_logbook(story.killed, story.config.key)[-1]["event"] == "terminated"
    story.kill(Moment("train.update.11"))
    story.finish()
    assert story.same_end()
    assert story.begun() == [("launch", 0), ("resume", 9), ("resume", 9)]


def test_killed_while_its_ranks_start(tmp_path: Path, lake: Lake) -> None:
    """Ranks whose launcher dies before they have imported anything must not be left behind, nor stand in the way."""
    config = small_run(lake, tmp_path / "text")
    command = launch_command(lake.uri, config.key, DATA_2, tmp_path / "cache")
    # It returns when no process of the run is left.
    status = run_command(command, {"OMP_NUM_THREADS": "1"}, tmp_path, lake.uri, lambda: len(living(lake.uri)) == 3)
    assert status == -signal.SIGKILL
    assert read_logbook(lake, config.key) == []


@pytest.mark.heavy
def test_a_rank_that_hangs_is_found_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(tmp_path, DATA_2, architecture="opt", shape=DROPOUT)

    def doomed(*arguments: Any, **options: Any) -> list[str]:
        return [
            "tests.model.support.doomed" if word == "model.train" else word
            for word in launch_command(*arguments, **options)
        ]

    monkeypatch.setattr(supervisor, "launch_command", doomed)
    monkeypatch.setenv("HANGS_AT", "train.step.9")
    # Marks reach the store every five seconds.
    request = LayoutRequest(data=2, zero=1, micro_batch=2, steady_seconds=20, grace_seconds=1)
    with pytest.raises(TrainingInterrupted, match=r"made no progress and was ended \(rank 1 .* step 8"):
        training.train(story.killed, story.config.key, request, print, lambda step, steps: None)
    assert read_logbook(story.killed, story.config.key)[-1]["event"] == "stuck"
    monkeypatch.delenv("HANGS_AT")
    story.finish()
    assert story.same_end()
