"""Measuring two sides that do the same work: outputs first, then times in alternation, then memory."""

from __future__ import annotations

import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")
ROUNDS = 9


class DifferentOutputs(Exception):
    """Two sides that should do the same work do not, so that their times cannot be compared."""


@dataclass(frozen=True, slots=True)
class Workload(Generic[Value]):
    """One input for both sides: `value`, which can be pickled, and its size in `unit` and in bytes of `bytes_of`."""

    value: Value
    name: str
    items: int
    unit: str
    bytes: int
    bytes_of: str


@dataclass(frozen=True, slots=True)
class Side(Generic[Value]):
    """One of two ways to do the work.

    `run` is timed; `outcome` gives what it comes to in a form that both sides share, and is compared. Both are
    functions of a module, so that another process can be told to call them.
    """

    name: str
    run: Callable[[Value], object]
    outcome: Callable[[Value], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of every run of one side, in the order of the rounds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle run, or the mean of the two in the middle."""
        return statistics.median(self.seconds)

    def spread(self) -> tuple[float, float]:
        """The fastest and the slowest run."""
        return min(self.seconds), max(self.seconds)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes of a process of its own: with imports and input loaded, and at most once the side has run."""

    loaded: int
    peak: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was measured of two sides; `memory` of each."""

    ours: Times
    peer: Times
    memory: tuple[Memory, Memory]

    @property
    def ratios(self) -> Times:
        """How many times faster we were, pair by pair: the peer's seconds / ours."""
        return ratios(self.ours, self.peer)


def compare(workload: Workload[Value], ours: Side[Value], peer: Side[Value], rounds: int = ROUNDS) -> Comparison:
    """Both sides on one input. Nothing is timed before their outcomes are equal; that run is the warm-up as well.

    Times are CPU seconds of this process: both sides are one thread and wait for nothing, and others who use the
    machine count for less. Raises DifferentOutputs.
    """
    refuse_differences(ours.name, ours.outcome(workload.value), peer.name, peer.outcome(workload.value))
    runs = [lambda: ours.run(workload.value), lambda: peer.run(workload.value)]
    our_times, peer_times = alternate(runs, rounds, time.process_time)
    memory = memory_of(ours.run, workload.value), memory_of(peer.run, workload.value)
    return Comparison(our_times, peer_times, memory)


def refuse_differences(left: str, left_outcome: Sequence[Any], right: str, right_outcome: Sequence[Any]) -> None:
    """Raises DifferentOutputs, naming the first place, unless both outcomes are equal and hold something."""
    if not left_outcome:
        raise DifferentOutputs(f"{left} gives nothing for this input: there is no work to be timed")
    for place, (ours, theirs) in enumerate(zip(left_outcome, right_outcome)):
        if ours != theirs:
            raise DifferentOutputs(f"output {place} differs: {left} gives {ours!r:.300}, {right} gives {theirs!r:.300}")
    if len(left_outcome) != len(right_outcome):
        raise DifferentOutputs(f"{left} gives {len(left_outcome)} outputs, {right} gives {len(right_outcome)}")


def alternate(runs: Sequence[Callable[[], object]], rounds: int, clock: Callable[[], float]) -> tuple[Times, ...]:
    """Times of each, in rounds in which all stand next to each other in time; who begins changes every round."""
    seconds: list[list[float]] = [[] for _ in runs]
    for number in range(rounds):
        for place in range(len(runs)):
            which = (number + place) % len(runs)
            gc.collect()
            started = clock()
            runs[which]()
            seconds[which].append(clock() - started)
    return tuple(Times(tuple(one)) for one in seconds)


def ratios(ours: Times, peer: Times) -> Times:
    """The peer's seconds / ours, for every pair. Raises ValueError when there are not as many of both."""
    return Times(tuple(theirs / own for own, theirs in zip(ours.seconds, peer.seconds, strict=True)))


def memory_of(run: Callable[[Value], object], value: Value) -> Memory:
    """The resident memory of a new process that calls `run`, a function of a module, once with `value`."""
    # A new program, as a process that is forked begins at the size of what it is forked from.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_measured, run, value).result()


def _measured(run: Callable[[Value], object], value: Value) -> Memory:
    loaded = _peak_bytes()
    run(value)
    return Memory(loaded, _peak_bytes())


def _peak_bytes() -> int:
    # Not ru_maxrss, which Linux starts at the size of the process that executed this program: VmHWM is this one's own.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
