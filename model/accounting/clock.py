"""Where the wall time of a step goes: data, compute, communication, saving, and the rest.

Every moment belongs to exactly one part, so the parts always add up to the wall time. A block inside another one
takes its time away from the outer one. It is the time of this process's main thread:

- *communication* on the CPU is the time in which that thread starts or awaits a collective or a message, ours or
  DeepSpeed's. What runs beside the computation meanwhile is not in it, and waiting for a slower rank is.
- On CUDA the host only queues work, so its own time says nothing. There it is the time in which the default stream,
  which computes, is taken up by collectives or stands still for them or for another stream, from pairs of CUDA events
  that are read afterwards; nothing is synchronised for it. Other streams are DeepSpeed's, for exchanges that run
  beside the computation: what they do there is not counted, for nobody waits for it. That time is taken out of
  *compute*, where the host waits for the device.
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

# The methods of PyTorch's process groups that exchange something, in any of its versions. `torch.distributed`, and
# DeepSpeed through it, has no other way.
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
        """All of it."""
        return self.data + self.compute + self.communication + self.saving + self.other


class StepClock:
    """Takes the time of one rank. Blocks nest; two threads may not be inside blocks at the same time.

        with clock.measure("data"):
            ...

    A block costs two readings of `now`, well below a microsecond each.
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
        """A block whose time is that part's."""
        return self._blocks[part]

    def add_device_span(self, began: Any, ended: Any) -> None:
        """Communication between two recorded CUDA events; counted once the device has reached the second."""
        self._on_device.append((began, ended))

    def take(self) -> Split:
        """The time since the last call, and since the clock was made at the first."""
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
        """Move what the device has told by now from compute to communication."""
        reached = 0
        for began, ended in self._on_device:
            if not ended.query():
                break
            # The device may have worked ahead of an earlier reading: no more can be moved than there is.
            seconds = min(began.elapsed_time(ended) / 1000, self._seconds["compute"])
            self._seconds["compute"] -= seconds
            self._seconds["communication"] += seconds
            reached += 1
        del self._on_device[:reached]


class _Block:
    """One for each part, entered again and again: the clock holds the stack."""

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
    """Inside, all exchanges of this process count as communication, whoever calls them.

    Wraps the methods of PyTorch's process groups, and the waits for what was started, and puts them back at the end.
    Uses nothing where PyTorch has no `torch.distributed`.
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
        # A stream's wait for another stream or for an event is the event's.
        event, stream = torch.cuda.Event, torch.cuda.Stream
        methods += [(event, "wait"), (event, "synchronize"), (stream, "synchronize"), (torch.cuda, "synchronize")]
    # As the class holds them: what `getattr` gives would no longer take its object.
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
