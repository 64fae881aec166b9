"""Events that change a run: learning rate and clip, skipped data, rollbacks. They are data, replayed at every resume.

    runs/<key>/events/000001-<launch>.json   one object for each, in order, never changed

An event is written before it takes effect, so a kill in between loses nothing. `Course` is the history of a run's
events. It says what each step reads and which learning rate it has, as a pure function of the events; training,
resuming, tracing and comparing all use it.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from infra.store.digests import key_of
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from model.configuration import from_plain, require, to_plain

POLICY = "spike policy"
# Fields that describe an event without changing the run; digests leave them out.
_TOLD = ("cause", "who", "request", "decided")


@dataclass(frozen=True)
class Change:
    """Overrides the learning rate or the clip from update `step` (0-based) on. None means unchanged.

    `learning_rate` replaces the schedule and `learning_rate_factor` multiplies it; the later event wins. `request` is
    the id of the request that asked for it.
    """

    step: int
    cause: str
    who: str
    learning_rate: float | None = None
    learning_rate_factor: float | None = None
    clip: float | None = None
    request: str = ""

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in ("learning_rate", "learning_rate_factor", "clip")}
        given = {name: value for name, value in given.items() if value is not None}
        require(len(given) > 0, "change: give learning_rate, learning_rate_factor or clip")
        for name, value in given.items():
            require(0 < value < math.inf, f"change: {name} is {value}; it must be above 0 and finite")
        require(
            not {"learning_rate", "learning_rate_factor"} <= set(given),
            "change: learning_rate and learning_rate_factor exclude each other; give one of them",
        )


@dataclass(frozen=True)
class SkipData:
    """Skips the sequences [first, stop) from update `step` (0-based) on."""

    step: int
    cause: str
    who: str
    first: int
    stop: int
    request: str = ""

    def __post_init__(self) -> None:
        _require_stretch("skip_data", self.first, self.stop)


@dataclass(frozen=True)
class Lower:
    """The spike policy multiplies the learning rate by `scale`, in total, from update `step` (0-based) on."""

    step: int
    cause: str
    scale: float
    who: str = POLICY


@dataclass(frozen=True)
class Rollback:
    """The run returns to its state after `step` steps and skips the sequences [first, stop) from there on.

    The policy decided it after `decided` steps. From `step` on the learning rate is multiplied by `scale`, in total.
    Everything since `step` is undone, except changes that people asked for.
    """

    step: int
    cause: str
    decided: int
    first: int
    stop: int
    scale: float
    who: str = POLICY

    def __post_init__(self) -> None:
        _require_stretch("rollback", self.first, self.stop)
        require(
            self.step <= self.decided,
            f"rollback: decided at step {self.decided}, before step {self.step} to which it returns; decided must be "
            "at least that step",
        )


Event = Change | SkipData | Lower | Rollback
KINDS: dict[str, type[Event]] = {"change": Change, "skip_data": SkipData, "lower": Lower, "rollback": Rollback}


@dataclass(frozen=True)
class StepPlan:
    """The sequences of a step and its overrides: `learning_rate` and `clip` replace the configuration's unless None.

    `factor` multiplies the learning rate. `sequences` are in the order of reading.
    """

    learning_rate: float | None
    factor: float
    clip: float | None
    sequences: tuple[int, ...]

    def rate(self, scheduled: float) -> float:
        """The learning rate of the step, given the scheduled one. Without events it equals `scheduled` exactly."""
        return (scheduled if self.learning_rate is None else self.learning_rate) * self.factor


@dataclass(frozen=True)
class Inherited:
    """The effect of another run's events at the step where this run continues it.

    `learning_rate`, `factor` and `clip` are as in StepPlan. The sequences of each (first, stop) are skipped.
    """

    learning_rate: float | None = None
    factor: float = 1.0
    clip: float | None = None
    left_out: tuple[tuple[int, int], ...] = ()


class Course:
    """The history of a run's events, in the order of recording, and its effect on each step.

    The later recorded event wins where two set the same value. Steps count from 0. `batch` is the number of sequences
    per step. `begins` is (steps taken before the run, first sequence of its first step). `inherited` applies from there
    on, before all events.
    """

    def __init__(
        self,
        batch: int,
        events: Sequence[Event] = (),
        begins: tuple[int, int] = (0, 0),
        inherited: Inherited | None = None,
    ) -> None:
        self.batch, self.events, self.begins, self.inherited = batch, tuple(events), begins, inherited or Inherited()

    def following(self, *events: Event) -> Course:
        """The course with these events appended."""
        return Course(self.batch, (*self.events, *events), self.begins, self.inherited)

    def to_inherit(self, step: int) -> Inherited:
        """The state that a run inherits when it continues from the checkpoint after `step` steps."""
        plan, first = self.at(step), self.next_sequence(step)
        left_out = ((stretch.start, stretch.stop) for stretch in self._left_out(step) if stretch.stop > first)
        return Inherited(plan.learning_rate, plan.factor, plan.clip, tuple(left_out))

    def at(self, step: int) -> StepPlan:
        """The plan of update `step` (0-based): the next `batch` sequences that no event up to it skips."""
        rate, factor, clip = self.inherited.learning_rate, self.inherited.factor, self.inherited.clip
        for event in self._in_effect(step):
            if isinstance(event, Change):
                if event.learning_rate is not None or event.learning_rate_factor is not None:
                    rate, factor = event.learning_rate, event.learning_rate_factor or 1.0
                clip = clip if event.clip is None else event.clip
        stretches = _taken(self.next_sequence(step), self.batch, self._left_out(step))
        sequences = tuple(index for stretch in stretches for index in stretch)
        return StepPlan(rate, factor * self._scale(step), clip, sequences)

    def next_sequence(self, step: int) -> int:
        """The first sequence that the first `step` steps have neither read nor skipped."""
        *_, (began, first) = self._stretches_of_steps(step)
        return _after(first, (step - began) * self.batch, self._left_out(began))

    def step_of(self, sequence: int) -> int | None:
        """The step (0-based) that reads a sequence; None when the sequence is skipped."""
        began = list(self._stretches_of_steps(None))
        ends = [*(start for start, _ in began[1:]), None]
        for (start, first), end in zip(began, ends, strict=True):
            left_out = self._left_out(start)
            if sequence >= first and not any(sequence in stretch for stretch in left_out):
                before = sum(map(len, _cut(range(first, sequence), left_out)))
                step = start + before // self.batch
                if end is None or step < end:
                    return step
        return None

    def digest(self, step: int) -> str:
        """The digest of the events that affect the first `step` steps: part of a checkpoint's identity.

        A checkpoint with another digest belongs to an abandoned course. Training must not resume from it.
        """
        felt = map(plain_event, self._in_effect(step - 1))
        return key_of([{name: value for name, value in event.items() if name not in _TOLD} for event in felt])

    def interventions(self, step: int) -> int:
        """How often the policy had rolled back or lowered the learning rate when it judged update `step` (0-based)."""
        turn = self._last_turn(step)
        policies = [number for number, event in enumerate(self.events) if isinstance(event, (Lower, Rollback))]
        return sum(number <= turn or self.events[number].step <= step for number in policies)

    def has(self, request: str) -> bool:
        """Whether an event of the request with that id is recorded."""
        return any(isinstance(event, (Change, SkipData)) and event.request == request for event in self.events)

    def lower(self, step: int, factor: float, cause: str) -> Lower:
        """The event by which the policy, after judging update `step`, lowers the learning rate from the next one on."""
        for event in self.events[self._last_turn(step) + 1 :]:
            if isinstance(event, Lower) and event.step == step + 1:
                return event  # recorded by a launch that was then killed
        return Lower(step + 1, cause, self._scale(step) * factor)

    def roll_back(self, step: int, to: int, factor: float, cause: str) -> Rollback:
        """The event by which the policy, after judging update `step`, returns to the state after `to` steps.

        It skips all sequences from there to the end of the judged step.
        """
        first, stop = self.next_sequence(to), self.next_sequence(step + 1)
        return Rollback(to, cause, step, first, stop, self._scale(step) * factor)

    def _in_effect(self, step: int) -> Iterator[Event]:
        return (event for event in self.events if event.step <= step)

    def _scale(self, step: int) -> float:
        scales = [event.scale for event in self._in_effect(step) if isinstance(event, (Lower, Rollback))]
        return scales[-1] if scales else 1.0

    def _left_out(self, step: int) -> list[range]:
        skips = (event for event in self._in_effect(step) if isinstance(event, (SkipData, Rollback)))
        stretches = [*self.inherited.left_out, *((event.first, event.stop) for event in skips)]
        return [range(*stretch) for stretch in sorted(stretches)]

    def _stretches_of_steps(self, until: int | None) -> Iterator[tuple[int, int]]:
        """The steps before `until` at which the set of skipped sequences changes, each with its next sequence."""
        starts = {event.step for event in self.events if isinstance(event, (SkipData, Rollback)) and event.step > 0}
        began, first = self.begins
        yield began, first
        for start in sorted(start for start in starts if start > began and (until is None or start < until)):
            first = _after(first, (start - began) * self.batch, self._left_out(began))
            began = start
            yield began, first

    def _last_turn(self, step: int) -> int:
        """The index in `events` of the last rollback in effect at update `step`, -1 for none."""
        turns = [
            number for number, event in enumerate(self.events) if isinstance(event, Rollback) and event.step <= step
        ]
        return turns[-1] if turns else -1


def record(lake: Lake, run: str, launch: str, course: Course, event: Event) -> Course:
    """Write an event, unless it is already in the course, and return the course with it."""
    if event in course.events:
        return course
    values = {
        "launch": launch,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        **plain_event(event),
    }
    lake.write_json(f"{_folder(run)}/{len(course.events) + 1:06d}-{launch}.json", values)
    return course.following(event)


def read_events(lake: Lake, run: str) -> list[Event]:
    """The events of a run. Raises Corrupt for an object that is not an event, since its effect would be unknown."""
    return [_event(lake, entry.path) for entry in lake.list(_folder(run))]


def plain_event(event: Event) -> dict[str, Any]:
    """An event as plain JSON, with its kind."""
    kind = next(name for name, kind in KINDS.items() if isinstance(event, kind))
    return {"kind": kind, **to_plain(event)}


def _event(lake: Lake, path: str) -> Event:
    values = lake.read_json(path)
    try:
        fields = {name: value for name, value in values.items() if name not in ("kind", "launch", "time")}
        return from_plain(KINDS[values["kind"]], fields, path)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Corrupt(
            f"{lake.uri}/{path} is not a valid run event ({error}); restore the object from a backup"
        ) from error


def _after(first: int, count: int, left_out: Iterable[range]) -> int:
    """The next sequence after `count` sequences are read from `first` on."""
    for stretch in left_out:
        free = max(0, stretch.start - first)
        if count <= free:
            break
        if stretch.stop > first:
            first, count = stretch.stop, count - free
    return first + count


def _taken(first: int, count: int, left_out: Sequence[range]) -> list[range]:
    return _cut(range(first, _after(first, count, left_out)), left_out)


def _cut(stretch: range, left_out: Iterable[range]) -> list[range]:
    """The parts of a stretch outside the ranges `left_out`, in order."""
    pieces, first = [], stretch.start
    for hole in left_out:
        pieces.append(range(first, min(hole.start, stretch.stop)))
        first = max(first, hole.stop)
    return [piece for piece in (*pieces, range(first, stretch.stop)) if piece]


def _require_stretch(what: str, first: int, stop: int) -> None:
    require(0 <= first < stop, f"{what}: sequences {first} to {stop}; first must be at least 0 and below stop")


def _folder(run: str) -> str:
    return f"runs/{run}/events"
