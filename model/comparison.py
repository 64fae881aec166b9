"""Two runs side by side: configurations, data order, every figure of every step, events, and the final weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infra.store.lake import Lake
from model.boxes import whole
from model.checkpoint import committed_steps, read_checkpoint
from model.configuration import to_plain
from model.events import plain_event, read_course
from model.logbook import read_logbook
from model.losses import StepRecord, read_losses
from model.run import read_run
from model.slices import StateReader, open_state

# Fields of a step's record that are not compared: which step it is, and how long it took.
_APART = ("step", "seconds")


@dataclass(frozen=True)
class Difference:
    """A field of the configuration that differs; None where a run has no such field."""

    field: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Trace:
    """One field of the steps that both runs have taken.

    `first` is the first step at which it differs, None when there is none. Of numbers, `largest` is the largest
    |a - b| / max(|a|, |b|), which is met at step `at`.
    """

    field: str
    first: int | None
    largest: float | None
    at: int | None


@dataclass(frozen=True)
class TensorDifference:
    """A tensor whose bits differ: the largest |a - b|, and that over the largest |a|."""

    name: str
    largest: float
    relative: float


@dataclass(frozen=True)
class Weights:
    """The weights at the newest step of which both runs have a checkpoint.

    `digests` are of names, shapes and values, whatever the layout; `alone` are the tensors that only one run has, or
    has in that shape.
    """

    step: int
    digests: tuple[str, str]
    tensors: tuple[TensorDifference, ...]
    alone: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Pairs are of the first and the second run; `weights` is None when no step has a checkpoint of both.

    `fingerprints` are of the data order, "" for a run that was never launched; `steps` are the steps on record.
    """

    runs: tuple[str, str]
    configuration: tuple[Difference, ...]
    fingerprints: tuple[str, str]
    seeds: tuple[int, int]
    steps: tuple[int, int]
    traces: tuple[Trace, ...]
    events: tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]
    weights: Weights | None

    @property
    def same(self) -> bool:
        """Whether the results are bitwise the same: all steps' figures, their data, and the final weights."""
        return (
            self.steps[0] == self.steps[1]
            and all(trace.first is None for trace in self.traces)
            and self.weights is not None
            and self.weights.digests[0] == self.weights.digests[1]
        )

    def to_plain(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return {"same": self.same, **to_plain(self)}


def compare_runs(first: tuple[Lake, str], second: tuple[Lake, str], cache: Path) -> Comparison:
    """Compare two runs, each given by its lake and key; `cache` holds local copies meanwhile.

    Raises NotThere for a run that is not there, and Corrupt for a checkpoint that is not as it was written.
    """
    sides = (first, second)
    configurations = [read_run(lake, run) for lake, run in sides]
    records = [read_losses(lake, run) for lake, run in sides]
    courses = [
        read_course(lake, run, configuration.training.batch)
        for (lake, run), configuration in zip(sides, configurations, strict=True)
    ]
    events = [tuple(map(plain_event, course.events)) for course in courses]
    return Comparison(
        runs=(first[1], second[1]),
        configuration=_differences(configurations[0].to_plain(), configurations[1].to_plain()),
        fingerprints=(_fingerprint(*first), _fingerprint(*second)),
        seeds=(configurations[0].seed, configurations[1].seed),
        steps=(len(records[0]), len(records[1])),
        traces=compare_steps(records[0], records[1]),
        events=(events[0], events[1]),
        weights=_compare_weights(first, second, cache),
    )


def compare_steps(first: Sequence[StepRecord], second: Sequence[StepRecord]) -> tuple[Trace, ...]:
    """A trace of each field of the records, over the steps that are in both."""
    others = {record.step: record for record in second}
    pairs = [(record, others[record.step]) for record in first if record.step in others]
    return tuple(_trace(field.name, pairs) for field in fields(StepRecord) if field.name not in _APART)


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


def _compare_weights(first: tuple[Lake, str], second: tuple[Lake, str], cache: Path) -> Weights | None:
    steps = set(committed_steps(*first)) & set(committed_steps(*second))
    if not steps:
        return None
    step = max(steps)
    checkpoints = [read_checkpoint(lake, run, step) for lake, run in (first, second)]
    with open_state(first[0], checkpoints[0], cache) as ours, open_state(second[0], checkpoints[1], cache) as theirs:
        shapes = (ours.shapes(), theirs.shapes())
        digests = (hashlib.sha256(), hashlib.sha256())
        tensors, alone = [], []
        for name in sorted({**shapes[0], **shapes[1]}):
            # One tensor at a time: a run's weights may be larger than memory.
            pair = [_weight(state, name, shape) for state, shape in zip((ours, theirs), shapes, strict=True)]
            for digest, weight in zip(digests, pair, strict=True):
                if weight is not None:
                    digest.update(f"{name} {tuple(weight.shape)} ".encode())
                    digest.update(weight.contiguous().numpy().tobytes())
            if pair[0] is None or pair[1] is None or pair[0].shape != pair[1].shape:
                alone.append(name)
            elif not torch.equal(pair[0].view(torch.int32), pair[1].view(torch.int32)):
                tensors.append(_difference(name, pair[0], pair[1]))
    return Weights(step, (digests[0].hexdigest(), digests[1].hexdigest()), tuple(tensors), tuple(alone))


def _weight(state: StateReader, name: str, shapes: dict[str, tuple[int, ...]]) -> Tensor | None:
    return state.read(name, "weight", whole(shapes[name])) if name in shapes else None


def _difference(name: str, a: Tensor, b: Tensor) -> TensorDifference:
    largest, scale = float((a.double() - b.double()).abs().max()), float(a.double().abs().max())
    return TensorDifference(name, largest, largest / scale if scale else float(largest > 0))
