"""Compares two runs: configurations, data order, every figure of every step, events, and the final weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from infra.store.errors import NotThere
from infra.store.lake import Lake
from model.analysis.weight_differences import Weights, compare_weights
from model.configuration import to_plain
from model.observers.losses import read_losses
from model.observers.records import StepRecord
from model.run.config import RunConfig, read_run
from model.run.events import plain_event, read_events
from model.supervision.logbook import read_logbook

# Fields of a step's record that are not compared: which step it is, and how long it took.
_APART = ("step", "seconds")


@dataclass(frozen=True)
class Difference:
    """A field of the configuration that differs; None where a run has no such field."""

    field: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Recorded:
    """The recorded steps of a run: their number, the first, the last, and `alone`, how many the other run lacks."""

    count: int
    first: int | None
    last: int | None
    alone: int


@dataclass(frozen=True)
class Trace:
    """One field, compared over the steps that both runs recorded.

    `first` is the first step at which it differs, None when it never does. For numbers, `largest` is the largest
    |a - b| / max(|a|, |b|), at step `at`.
    """

    field: str
    first: int | None
    largest: float | None
    at: int | None


@dataclass(frozen=True)
class Comparison:
    """Pairs hold the values of the first and the second run.

    `origins` is the chain of checkpoints, as RUN@STEP, from which a run continues, the nearest first. `fingerprints`
    identify the data order; "" for a run that was never launched. `traces` is empty when the runs share no recorded
    step. `weights` is None when no step has a checkpoint in both runs.
    """

    runs: tuple[str, str]
    origins: tuple[tuple[str, ...], tuple[str, ...]]
    configuration: tuple[Difference, ...]
    fingerprints: tuple[str, str]
    seeds: tuple[int, int]
    steps: tuple[Recorded, Recorded]
    traces: tuple[Trace, ...]
    events: tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]
    weights: Weights | None

    @property
    def differs(self) -> tuple[str, ...]:
        """The results that are known to differ, in a few words each."""
        found = []
        if any(step.alone for step in self.steps):
            found.append("the recorded steps")
        found += [f"{trace.field} (first at step {trace.first:,})" for trace in self.traces if trace.first is not None]
        if self.weights is not None and self.weights.digests[0] != self.weights.digests[1]:
            found.append(f"the weights at step {self.weights.step:,}")
        return tuple(found)

    @property
    def same(self) -> bool:
        """Whether the results are known to be bitwise identical: steps, their figures and data, and final weights.

        False unless both runs have a checkpoint of the last step.
        """
        last = self.steps[0].last
        return not self.differs and self.weights is not None and last == self.weights.step

    def to_plain(self) -> dict[str, Any]:
        """The comparison as plain JSON."""
        return {"same": self.same, "differs": list(self.differs), **to_plain(self)}


def compare_runs(first: tuple[Lake, str], second: tuple[Lake, str], cache: Path) -> Comparison:
    """Compare two runs, each given by its lake and key; `cache` is a folder for temporary local copies.

    Raises NotThere for a missing run, and Corrupt for a checkpoint whose bytes have changed.
    """
    sides = (first, second)
    configurations = [read_run(lake, run) for lake, run in sides]
    records = [read_losses(lake, run) for lake, run in sides]
    events = [tuple(map(plain_event, read_events(lake, run))) for lake, run in sides]
    return Comparison(
        runs=(first[1], second[1]),
        origins=(_origins(first[0], configurations[0]), _origins(second[0], configurations[1])),
        configuration=_differences(configurations[0].to_plain(), configurations[1].to_plain()),
        fingerprints=(_fingerprint(*first), _fingerprint(*second)),
        seeds=(configurations[0].seed, configurations[1].seed),
        steps=(_recorded(records[0], records[1]), _recorded(records[1], records[0])),
        traces=compare_steps(records[0], records[1]),
        events=(events[0], events[1]),
        weights=compare_weights(first, second, cache),
    )


def compare_steps(first: Sequence[StepRecord], second: Sequence[StepRecord]) -> tuple[Trace, ...]:
    """A trace of each field of the records, over the steps in both; empty when there is no such step."""
    others = {record.step: record for record in second}
    pairs = [(record, others[record.step]) for record in first if record.step in others]
    if not pairs:
        return ()
    return tuple(_trace(field.name, pairs) for field in fields(StepRecord) if field.name not in _APART)


def _origins(lake: Lake, config: RunConfig) -> tuple[str, ...]:
    found = []
    while config.origin is not None:
        found.append(f"{config.origin.run}@{config.origin.step}")
        try:
            config = read_run(lake, config.origin.run)
        except NotThere:  # deleted, so its own origin is unknown
            break
    return tuple(found)


def _recorded(ours: Sequence[StepRecord], others: Sequence[StepRecord]) -> Recorded:
    steps, theirs = [record.step for record in ours], {record.step for record in others}
    first, last = (steps[0], steps[-1]) if steps else (None, None)
    return Recorded(len(steps), first, last, sum(step not in theirs for step in steps))


def _trace(field: str, pairs: Sequence[tuple[StepRecord, StepRecord]]) -> Trace:
    first = largest = at = None
    for record, other in pairs:
        a, b = getattr(record, field), getattr(other, field)
        if a == b:
            continue
        first = record.step if first is None else first
        if _is_number(a) and _is_number(b) and (largest is None or _relative(a, b) > largest):
            largest, at = _relative(a, b), record.step
    return Trace(field, first, largest, at)


def _relative(a: float, b: float) -> float:
    return abs(a - b) / max(abs(a), abs(b))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _differences(first: dict[str, Any], second: dict[str, Any]) -> tuple[Difference, ...]:
    ours, theirs = dict(_leaves(first, "")), dict(_leaves(second, ""))
    names = [*ours, *(name for name in theirs if name not in ours)]
    pairs = ((name, ours.get(name), theirs.get(name)) for name in names)
    return tuple(Difference(name, a, b) for name, a, b in pairs if a != b)


def _leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{where}.{name}" if where else name)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{where}[{number}]")
    else:
        yield where, value


def _fingerprint(lake: Lake, run: str) -> str:
    found = (event["fingerprint"] for event in read_logbook(lake, run) if "fingerprint" in event)
    return next(found, "")
