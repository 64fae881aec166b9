"""The course of a run against a step-by-step simulation; events written, replayed and refused."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.store.errors import Corrupt
from infra.store.lake import Lake
from model.optim.spikes import SpikeJudge, SpikePolicy, rollback_step
from model.run.events import Change, Course, Event, Lower, Rollback, SkipData, plain_event, read_events, record
from model.supervision.control import Control, ask

RUN = "run"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(str(tmp_path / "lake"))


def simulated(batch: int, events: list[Event], steps: int) -> list[tuple[int, ...]]:
    """The sequences of each step, one at a time."""
    reader, taken = 0, []
    for step in range(steps):
        out: set[int] = set()
        for event in events:
            if isinstance(event, (SkipData, Rollback)) and event.step <= step:
                out |= set(range(event.first, event.stop))
        mine: list[int] = []
        while len(mine) < batch:
            if reader not in out:
                mine.append(reader)
            reader += 1
        taken.append(tuple(mine))
    return taken


def change(step: int, **values: Any) -> Change:
    return Change(step, "test", "somebody", **values)


def test_without_events_a_run_is_as_configured() -> None:
    course = Course(4)
    plan = course.at(7)
    assert plan.sequences == (28, 29, 30, 31) and plan.clip is None
    assert plan.rate(1e-3 / 3) == 1e-3 / 3
    assert course.next_sequence(7) == 28 and course.step_of(30) == 7
    assert course.digest(0) == course.digest(100)


def test_sequences_of_every_step_are_those_of_a_simulation() -> None:
    draw = random.Random(0)
    for _ in range(300):
        batch, events = draw.randint(1, 5), []
        for _ in range(draw.randint(0, 5)):
            first = draw.randint(0, 90)
            events.append(SkipData(draw.randint(0, 25), "test", "x", first, first + draw.randint(1, 30)))
        course, expected = Course(batch, events), simulated(batch, list(events), 30)
        for step, sequences in enumerate(expected):
            assert course.at(step).sequences == sequences
        step_of = {index: step for step, sequences in enumerate(expected) for index in sequences}
        for index in range(expected[-1][-1] + 1):
            assert course.step_of(index) == step_of.get(index)


def test_a_rollback_leaves_out_what_was_read_since() -> None:
    course = Course(2)
    event = course.roll_back(9, 6, 0.5, "spike")
    assert event == Rollback(6, "spike", 9, 12, 20, 0.5)
    course = Course(2, [event])
    assert [course.at(step).sequences for step in (5, 6, 7)] == [(10, 11), (20, 21), (22, 23)]
    assert [course.at(step).rate(1.0) for step in (5, 6)] == [1.0, 0.5]
    # Once more, from the new course and to an older checkpoint: all is left out, and the rate falls further.
    again = course.roll_back(8, 4, 0.5, "spike")
    assert again == Rollback(4, "spike", 8, 8, 26, 0.25)
    course = Course(2, [event, again])
    assert [course.at(step).sequences for step in (3, 4, 6)] == [(6, 7), (26, 27), (30, 31)]
    assert [course.at(step).rate(1.0) for step in (3, 4, 6)] == [1.0, 0.25, 0.25]


def test_the_later_change_holds() -> None:
    course = Course(
        1,
        [change(10, learning_rate=3e-5), change(5, clip=0.3), change(20, learning_rate_factor=0.5), Lower(25, "", 0.1)],
    )
    assert [course.at(step).rate(1e-3) for step in (9, 10, 19, 20, 25)] == [1e-3, 3e-5, 3e-5, 5e-4, 5e-4 * 0.1]
    assert [course.at(step).clip for step in (4, 5, 30)] == [None, 0.3, 0.3]


def test_a_change_outlives_a_rollback_past_it() -> None:
    course = Course(1, [change(50, learning_rate_factor=0.8)])
    course = Course(1, [*course.events, course.roll_back(60, 40, 0.5, "spike")])
    assert [course.at(step).rate(1.0) for step in (39, 40, 50)] == [1.0, 0.5, 0.4]


def test_the_digest_tells_a_course_that_was_given_up() -> None:
    before = Course(2, [change(10, clip=0.3)])
    after = Course(2, [*before.events, before.roll_back(30, 20, 1.0, "spike")])
    assert before.digest(10) == Course(2).digest(10) != before.digest(11)
    assert all(before.digest(step) == after.digest(step) for step in (0, 11, 20))
    assert all(before.digest(step) != after.digest(step) for step in (21, 30))


def test_the_digest_is_of_what_was_done_not_of_the_words() -> None:
    ours = Course(2, [Change(3, "a guess", "ann", clip=0.3, request="1")])
    theirs = Course(2, [Change(3, "because", "bob", clip=0.3, request="2")])
    assert ours.digest(9) == theirs.digest(9) != Course(2, [change(3, clip=0.4)]).digest(9)


def test_interventions_are_counted_alike_at_first_and_in_every_replay() -> None:
    """Whatever the policy decides, a replay of any step of the path that counts sees the number seen at first."""
    draw = random.Random(3)
    for _ in range(200):
        course, step = Course(1), 0
        seen: dict[int, int] = {}
        for _ in range(60):
            seen[step] = course.interventions(step)
            kind = draw.choice(["keep"] * 6 + ["lower", "rollback"])
            if kind == "lower":
                event: Event = course.lower(step, 0.5, "high")
                assert event not in course.events
                course = Course(1, [*course.events, event])
                assert course.lower(step, 0.5, "high") == event
            elif kind == "rollback":
                to = draw.randint(0, step)
                course = Course(1, [*course.events, course.roll_back(step, to, 0.5, "high")])
                seen = {before: count for before, count in seen.items() if before < to}
                step = to
                continue
            step += 1
        for past, count in seen.items():
            assert course.interventions(past) == count


def test_a_lowered_rate_that_was_recorded_is_found_again_after_a_rollback_past_it() -> None:
    course = Course(1)
    lowered = course.lower(10, 0.5, "high")
    course = Course(1, [lowered])
    course = Course(1, [*course.events, course.roll_back(30, 20, 0.5, "high")])
    assert course.lower(10, 0.5, "high") is lowered
    # After a rollback to before it, the same step is judged anew.
    course = Course(1, [*course.events, course.roll_back(25, 5, 0.5, "high")])
    assert course.lower(10, 0.5, "high") == Lower(11, "high", 0.0625)


def test_events_are_written_once_and_read_back_in_order(lake: Lake) -> None:
    events: list[Event] = [
        change(10, learning_rate_factor=0.5, request="r-1"),
        SkipData(12, "bad crawl", "ann", 100, 120),
        Lower(15, "high", 0.5),
        Rollback(12, "high", 15, 48, 64, 0.25),
    ]
    course = Course(4, read_events(lake, RUN))
    assert course.events == ()
    for number, event in enumerate(events):
        # Each by another launch, as after a kill, and twice.
        course = record(lake, RUN, f"launch{9 - number}", Course(4, read_events(lake, RUN)), event)
        assert record(lake, RUN, "later", course, event) is course
    assert Course(4, read_events(lake, RUN)).events == course.events == tuple(events)
    paths = [entry.path for entry in lake.list(f"runs/{RUN}/events")]
    assert paths[0] == f"runs/{RUN}/events/000001-launch9.json" and len(paths) == 4
    assert {"kind", "launch", "time", "cause", "who", "step"} <= set(lake.read_json(paths[0]))
    assert course.has("r-1") and not course.has("r-2")


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "wish", "step": 1},
        {"step": 1},
        ["change"],
        {**plain_event(change(1, clip=0.5)), "clip": -1.0},
        {**plain_event(change(1, clip=0.5)), "colour": "red"},
    ],
)
def test_an_object_that_is_no_event_stops_the_run(lake: Lake, values: Any) -> None:
    lake.write_json(f"runs/{RUN}/events/000001-x.json", values)
    with pytest.raises(Corrupt, match=r"000001-x\.json is not a valid run event"):
        Course(4, read_events(lake, RUN))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: change(1), "give learning_rate"),
        (lambda: change(1, clip=0.0), "clip is 0.0"),
        (lambda: change(1, learning_rate=float("inf")), "learning_rate is inf"),
        (lambda: change(1, learning_rate=1e-4, learning_rate_factor=0.5), "exclude each other"),
        (lambda: SkipData(1, "", "", 5, 5), "sequences 5 to 5"),
        (lambda: Rollback(9, "", 8, 0, 4, 1.0), "decided at step 8"),
    ],
)
def test_bad_values_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


STEPS, BATCH, EVERY = 51, 2, 5
BAD = (range(20, 27), range(82, 92))  # the second begins before a checkpoint and ends after it


class Killed(Exception):
    """The launch is gone."""


class ToyTrainer:
    """One launch of a run whose model is a number: how judge, course, control and checkpoints play together.

    `moments` counts the points at which a kill may strike; it strikes at number `dies_at`.
    """

    def __init__(
        self, lake: Lake, kept: dict[int, dict[str, Any]], name: str, policy: SpikePolicy, dies_at: int | None
    ) -> None:
        self.lake, self.kept, self.name, self.policy, self.dies_at, self.moments = lake, kept, name, policy, dies_at, 0
        self.course = Course(BATCH, read_events(lake, RUN))
        self.control = Control(lake, RUN, name, clock=lambda: 2.0 * self.moments)

    def train(self) -> list[list[float]]:
        self._resume()
        while self.step < STEPS:
            if self.step == 20 and not list(self.lake.list(f"runs/{RUN}/control")):
                ask(self.lake, RUN, "change", "ann", cause="test", learning_rate_factor=0.9)
            for request in self.control.poll(self.step):
                self._moment()
                # Asked at step 20 in any run, which no launch has passed.
                self.course = self.control.accept(request, self.course, max(self.step, 20))
            self._take_step()
        return self.trace

    def _take_step(self) -> None:
        self._moment()
        plan = self.course.at(self.step)
        bad = any(index in stretch for index in plan.sequences for stretch in BAD)
        loss = self.weight + 50.0 * bad + 0.01 * (plan.sequences[0] * 7 % 5)
        verdict = self.judge.judge(self.step, loss, abs(loss), self.course.interventions(self.step))
        assert verdict.action != "fail", verdict
        if verdict.action == "rollback":
            to = rollback_step(self._checkpoints(), verdict.since, self.policy.rollback)
            assert to is not None
            self._record(self.course.roll_back(self.step, to, self.policy.lower, verdict.cause))
            self._resume()
            return
        if verdict.action == "lower":
            self._record(self.course.lower(self.step, self.policy.lower, verdict.cause))
        if verdict.action == "keep":
            self.weight -= plan.rate(0.01) * loss
        self.step += 1
        self.trace.append([self.step, loss, plan.rate(0.01), *plan.sequences])
        if self.step % EVERY == 0:
            self._save()

    def _record(self, event: Event) -> None:
        self._moment()
        self.course = record(self.lake, RUN, self.name, self.course, event)
        self._moment()

    def _resume(self) -> None:
        self.step, self.weight, self.trace = 0, 8.0, []
        self.judge = SpikeJudge(self.policy)
        if checkpoints := self._checkpoints():
            self.step = checkpoints[-1]
            values = self.kept[self.step]
            self.weight, self.trace = values["weight"], list(values["trace"])
            self.judge.load(values["judge"])
        else:
            self._save()

    def _save(self) -> None:
        self._moment()
        self.kept[self.step] = {
            "weight": self.weight,
            "trace": list(self.trace),
            "judge": self.judge.state(),
            "course": self.course.digest(self.step),
        }
        self._moment()

    def _checkpoints(self) -> list[int]:
        """Those of the course that counts."""
        return [step for step in sorted(self.kept) if self.kept[step]["course"] == self.course.digest(step)]

    def _moment(self) -> None:
        self.moments += 1
        if self.moments == self.dies_at:
            raise Killed


@pytest.mark.parametrize(
    ("rollback", "kinds"),
    [(1, ["rollback", "change", "rollback"]), (0, ["lower", "change", "lower"])],
    ids=["rollback", "lower"],
)
def test_a_run_killed_anywhere_takes_the_same_course(tmp_path: Path, rollback: int, kinds: list[str]) -> None:
    """Two spikes that stay and a change by hand; every third moment of the run is the end of some launch."""
    policy = SpikePolicy(window=8, deviations=4.0, patience=3, rollback=rollback, lower=0.5, limit=2)
    unbroken = ToyTrainer(Lake.open(str(tmp_path / "unbroken")), {}, "one", policy, None)
    expected = unbroken.train()
    assert [plain_event(event)["kind"] for event in unbroken.course.events] == kinds
    # What was trained is what the final course says: nothing is left of what was given up.
    plans = [unbroken.course.at(step) for step in range(STEPS)]
    assert expected == [
        [step + 1, line[1], plan.rate(0.01), *plan.sequences]
        for step, (plan, line) in enumerate(zip(plans, expected, strict=True))
    ]
    for first in range(1, unbroken.moments + 1, 3):
        lake = Lake.open(str(tmp_path / f"killed-{first}"))
        kept: dict[int, dict[str, Any]] = {}
        trace: list[list[float]] = []
        for number, dies_at in enumerate((first, 1 + first % 17, None)):
            trainer = ToyTrainer(lake, kept, f"launch{number}", policy, dies_at)
            with contextlib.suppress(Killed):
                trace = trainer.train()
        assert trace == expected
        assert [replaced(event) for event in trainer.course.events] == [replaced(one) for one in unbroken.course.events]


def replaced(event: Event) -> Event:
    """The event without the request's own id."""
    return replace(event, request="") if isinstance(event, Change) else event
