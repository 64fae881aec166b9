"""What a run takes over from another: its place in the very same sequences, and what had become of its course."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.store.lake import Lake
from model.checkpoints.manifest import read_checkpoint
from model.observers.losses import read_losses
from model.order import NeoxOrder
from model.run.config import RunConfig, create_run, read_run, run_config
from model.run.data import open_order
from model.run.events import Change, Course, Event, Inherited, Lower, Rollback, SkipData, read_events, record
from model.run.inheritance import take_over
from model.run.origin import Origin
from tests.model.support.small import small_run
from tests.model.support.trained import train_here

STEP, BATCH = 16, 8


def following(before: RunConfig, inherited: Inherited | None = None, **changes: Any) -> RunConfig:
    """A run that begins after 16 steps of `before`, with changes in its training, or of its seed or sources."""
    values = before.to_plain() | {name: changes.pop(name) for name in ("seed", "sources", "label") if name in changes}
    values["training"] = values["training"] | changes
    values["origin"] = {"run": before.key, "step": STEP, "digest": "0" * 64, "next_sequence": 0}
    return take_over(run_config(values), before, STEP * BATCH, inherited or Inherited())


@pytest.mark.parametrize(
    ("compat", "changes", "goes_on"),
    [
        (None, {}, True),
        (None, {"steps": 40}, True),
        (None, {"batch": 4}, True),
        (None, {"seed": 99}, False),
        (None, {"sequence_length": 16}, False),
        (None, {"packing": "blocks"}, False),
        (None, {"compat": "neox"}, False),
        ("neox", {"label": "fork"}, True),
        ("neox", {"seed": 99}, False),
        ("neox", {"steps": 40}, False),
        ("neox", {"batch": 4}, False),
        ("neox", {"steps": 32, "batch": 4}, True),
        ("rows", {"seed": 99}, True),
        ("rows", {"steps": 40}, True),
    ],
)
def test_it_goes_on_in_the_very_sequences_only(
    lake: Lake, tmp_path: Path, compat: Any, changes: dict[str, Any], goes_on: bool
) -> None:
    before = small_run(lake, tmp_path / "text", compat=compat)
    config = following(before, **changes)
    assert config.first_sequence == (STEP * BATCH if goes_on else 0)
    assert config.needed == config.first_sequence + (config.training.steps - STEP) * config.training.batch
    assert config.samples == (24 * BATCH if goes_on and config.training.compat == "neox" else config.needed)


def test_weights_are_of_the_data_and_limits_are_not(lake: Lake, tmp_path: Path) -> None:
    before = small_run(lake, tmp_path / "text")
    [first, second] = before.to_plain()["sources"]
    assert following(before, sources=[first | {"epochs": 9}, second]).first_sequence == STEP * BATCH
    assert following(before, sources=[first | {"weight": 2.0}, second]).first_sequence == 0
    assert following(before, sources=[first]).first_sequence == 0


def test_gpt_neox_s_order_stays_the_one_of_the_first_run(lake: Lake, tmp_path: Path) -> None:
    """A run in a new order of 64 sequences, and another that goes on in that: its maps are for 64 as well."""
    before = small_run(lake, tmp_path / "text", compat="neox")
    other = following(before, seed=99)
    again = replace(following(other), training=other.training)
    assert (other.samples, again.samples, again.first_sequence) == (64, 64, STEP * BATCH)
    orders = [open_order(lake, one, tmp_path / "cache") for one in (before, following(before), other)]
    assert all(isinstance(order, NeoxOrder) for order in orders)
    assert orders[0].fingerprint == orders[1].fingerprint != orders[2].fingerprint


def test_what_is_not_taken_over_is_not_written_down(lake: Lake, tmp_path: Path) -> None:
    before = small_run(lake, tmp_path / "text")
    config = following(before)
    plain = config.to_plain()["origin"]
    assert plain == {"run": before.key, "step": STEP, "digest": "0" * 64, "next_sequence": 128}
    changed = following(before, Inherited(factor=0.5, left_out=((130, 140),)))
    assert changed.key != config.key and changed.needed == 24 * BATCH + 10
    create_run(lake, changed)
    assert read_run(lake, changed.key) == changed
    elsewhere = following(before, Inherited(factor=0.5, left_out=((130, 140),)), seed=99)
    assert elsewhere.origin == Origin(before.key, STEP, "0" * 64, 0, inherited=Inherited(factor=0.5))


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Change(3, "", "ann", learning_rate_factor=0.5), Lower(6, "high", 0.5)],
        [Change(3, "", "ann", learning_rate=0.01, clip=0.3), SkipData(5, "", "ann", 30, 44)],
        [SkipData(2, "", "ann", 90, 100), Rollback(8, "high", 9, 32, 40, 0.7)],
    ],
)
def test_a_course_is_inherited_as_it_was(events: list[Event]) -> None:
    before = Course(4, events)
    for step in (8, 10, 12):
        begins = (step, before.next_sequence(step))
        after = Course(4, [], begins, before.to_inherit(step))
        assert [after.at(one) for one in range(step, 40)] == [before.at(one) for one in range(step, 40)]
        later = Course(4, [], (15, after.next_sequence(15)), after.to_inherit(15))
        assert [later.at(one) for one in range(15, 40)] == [before.at(one) for one in range(15, 40)]


def test_later_events_replace_what_is_inherited() -> None:
    course = Course(4, [], (10, 0), Inherited(0.01, 0.5, 0.3))
    assert (course.at(10).learning_rate, course.at(10).factor, course.at(10).clip) == (0.01, 0.5, 0.3)
    changed = course.following(Change(12, "", "ann", learning_rate_factor=0.8), Lower(14, "high", 0.5))
    assert (changed.at(11).rate(1.0), changed.at(12).rate(1.0), changed.at(14).rate(1.0)) == (0.005, 0.8, 0.4)
    assert changed.at(14).clip == 0.3


@pytest.mark.parametrize(
    ("compat", "more"),
    [
        (None, [SkipData(5, "", "ann", 20, 24), SkipData(6, "", "ann", 140, 142)]),
        ("neox", [Lower(5, "high", 0.5), Lower(6, "high", 0.3)]),
    ],
)
def test_a_fork_goes_on_as_the_other_would_have(lake: Lake, tmp_path: Path, compat: Any, more: list[Event]) -> None:
    """With its rate and clip as people had changed them, and past the data that they had left out."""
    before = small_run(lake, tmp_path / "text", steps=STEP + 4, compat=compat)
    course = before.course()
    for event in (Change(3, "", "ann", learning_rate_factor=0.5, clip=0.2), *more):
        course = record(lake, before.key, "launch", course, event)
    train_here(lake, before, tmp_path / "cache")
    held = read_checkpoint(lake, before.key, STEP)
    inherited = before.course(read_events(lake, before.key)).to_inherit(STEP)
    values = before.to_plain() | {"label": "fork"}
    origin = {"run": before.key, "step": STEP, "digest": held.digest, "next_sequence": 0}
    fork = take_over(run_config(values | {"origin": origin}), before, held.trainer["next_sequence"], inherited)
    create_run(lake, fork)
    train_here(lake, fork, tmp_path / "cache")
    theirs, ours = (read_losses(lake, one.key)[-4:] for one in (before, fork))
    assert [replace(one, seconds=0.0) for one in ours] == [replace(one, seconds=0.0) for one in theirs]
