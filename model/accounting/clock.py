"""The wall time of a step by part: data, compute, communication, saving, other.

Every moment belongs to exactly one part, so the parts add up to the wall time. The time of a nested block does not
count for the outer block. The clock measures this process's main thread:

- On the CPU, *communication* is the time in which that thread starts or awaits a collective or a message, ours or
  DeepSpeed's. It includes waiting for a slower rank, and excludes communication that overlaps with computation.
- On CUDA the host only queues work, so host time is meaningless. There, *communication* is the time in which the
  default (compute) stream runs collectives or waits for them or for another stream. It is measured with pairs of CUDA
  events that are read afterwards, without synchronisation. DeepSpeed's other streams, which overlap communication with
  computation, are not counted. The time is subtracted from *compute*, where the host waits for the device.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

Part = Literal["data", "compute", "communication", "saving", "other"]
PARTS: tuple[Part, ...] = get_args(Part)

# The methods of PyTorch's process groups that communicate, in all its versions. `torch.distributed`, and through it
# DeepSpeed, uses no others.
EXCHANGE = re.compile(r"[a-z_]*(reduce|gather|scatter|broadcast|alltoall|barrier|send|recv)[a-z_]*")


@dataclass(frozen=True, slots=True)
class Split:
    """Seconds of wall time by part."""

    data: float
    compute: float
    communication: float
    saving: float
    other: float

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return self.data + self.compute + self.communication + self.saving + self.other


class StepClock:
    """Measures the time of one rank. Blocks nest; only one thread may be inside blocks at a time.

        with clock.measure("data"):
            ...

    A block costs two calls of `now`, each well below a microsecond.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._blocks = {part: _Block(self, part) for part in PARTS}
        self._outer: list[Part] = []
        self._part: Part = "other"
        self._since = now()
        self._on_device: list[tuple[Any, Any]] = []

    def measure(self, part: Part) -> _Block:
        """A context manager whose time counts for `part`."""
        return self._blocks[part]

    def add_device_span(self, began: Any, ended: Any) -> None:
        """Count the time between two recorded CUDA events as communication, once the device reaches the second."""
        self._on_device.append((began, ended))

    def take(self) -> Split:
        """The time since the last call, or at the first call since the clock was created."""
        self._switch(self._part)
        self._settle()
        split = Split(**self._seconds)
        self._seconds = dict.fromkeys(PARTS, 0.0)
        return split

    def _switch(self, part: Part) -> None:
        now = self._now()
        self._seconds[self._part] += now - self._since
        self._part, self._since = part, now

    def _settle(self) -> None:
        """Move the time between completed CUDA events from compute to communication."""
        reached = 0
        for began, ended in self._on_device:
            if not ended.query():
                break
            # Part of the device's time may belong to an earlier reading: move at most what compute has.
            seconds = min(began.elapsed_time(ended) / 1000, self._seconds["compute"])
            self._seconds["compute"] -= seconds
            self._seconds["communication"] += seconds
            reached += 1
        del self._on_device[:reached]


class _Block:
    """A reusable context manager, one per part; the clock holds the stack."""

    __slots__ = ("_clock", "_part")

    def __init__(self, clock: StepClock, part: Part) -> None:
        self._clock, self._part = clock, part

    def __enter__(self) -> None:
        self._clock._outer.append(self._clock._part)
        self._clock._switch(self._part)

    def __exit__(self, *_: object) -> None:
        self._clock._switch(self._clock._outer.pop())


@contextmanager
def watch_collectives(clock: StepClock, device: Literal["cpu", "cuda"]) -> Iterator[None]:
    """Within this context, all collectives and messages of this process count as communication.

    Wraps the methods of PyTorch's process groups and the waits for their results, and restores them at the end. Does
    nothing if PyTorch has no `torch.distributed`.
    """
    if not torch.distributed.is_available():
        yield
        return
    from torch._C import _distributed_c10d

    wrap = _timed_by_host if device == "cpu" else _timed_by_device
    group, work = _distributed_c10d.ProcessGroup, _distributed_c10d.Work
    methods: list[tuple[Any, str]] = [(group, name) for name in vars(group) if EXCHANGE.fullmatch(name)]
    methods.append((work, "wait"))
    if device == "cuda":
        # A stream waits for another stream or an event through the event's methods.
        event, stream = torch.cuda.Event, torch.cuda.Stream
        methods += [(event, "wait"), (event, "synchronize"), (stream, "synchronize"), (torch.cuda, "synchronize")]
    # Save the raw attributes from vars(): what `getattr` returns, put back on the class, would not bind to its object.
    originals = [(owner, name, vars(owner)[name]) for owner, name in methods]
    for owner, name, _ in originals:
        setattr(owner, name, wrap(clock, getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def _timed_by_host(clock: StepClock, original: Callable[..., Any]) -> Callable[..., Any]:
    block = clock.measure("communication")

    def timed(*arguments: Any, **named: Any) -> Any:
        with block:
            return original(*arguments, **named)

    return timed


def _timed_by_device(clock: StepClock, original: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        if torch.cuda.current_stream() != torch.cuda.default_stream():
            return original(*arguments, **named)
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        try:
            return original(*arguments, **named)
        finally:
            ended.record()
            clock.add_device_span(began, ended)

    return timed
