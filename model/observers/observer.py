"""The interface between the trainer and everything that records its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Literal

from model.observers.records import StepRecord

# How a launch ends.
Ending = Literal["finished", "stopped", "failed"]


class StepObserver:
    """Observes the steps of one rank. Subclasses override what they need; the methods here do nothing.

    The trainer calls `begin` after a resume and after a rollback, `on_step_end` after every step, `flush` every few
    seconds, `commit` before a checkpoint is committed, and `close` once at the end.
    """

    def begin(self, step: int) -> None:
        """Training continues after `step`. Drop records of later steps: these steps will run again."""

    def on_step_end(self, record: StepRecord) -> None:
        """Record a finished step. Called on the training thread: return quickly."""

    def on_scalars(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        """Record other measurements (speed, memory, energy) at `step`, by tag; `time` is in POSIX seconds."""

    def flush(self) -> None:
        """Write the records since the newest checkpoint, for live display. Called while this launch owns the run."""

    def commit(self, step: int) -> None:
        """Make all records up to `step` durable, before the checkpoint after `step` is committed."""

    def close(self, ending: Ending) -> None:
        """The launch ends."""


class Observers(StepObserver):
    """Several observers, called in order."""

    def __init__(self, observers: Sequence[StepObserver]) -> None:
        self._observers = tuple(observers)

    def begin(self, step: int) -> None:
        for observer in self._observers:
            observer.begin(step)

    def on_step_end(self, record: StepRecord) -> None:
        for observer in self._observers:
            observer.on_step_end(record)

    def on_scalars(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        for observer in self._observers:
            observer.on_scalars(step, time, scalars)

    def flush(self) -> None:
        for observer in self._observers:
            observer.flush()

    def commit(self, step: int) -> None:
        for observer in self._observers:
            observer.commit(step)

    def close(self, ending: Ending) -> None:
        """Close all, also when one of them raises."""
        with ExitStack() as stack:
            for observer in reversed(self._observers):
                stack.callback(observer.close, ending)
