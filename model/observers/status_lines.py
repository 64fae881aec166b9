"""A line about the training every few seconds, for people who watch the output."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from model.observers.observer import Ending, StepObserver
from model.observers.records import StepRecord

INTERVAL = 10.0
_LINE = re.compile(r"step [\d,]+ of [\d,]+: (?P<status>.*)")


class StatusLines(StepObserver):
    """Prints loss, tokens per second and time left: after the first step, the last, and every `INTERVAL` seconds.

    Speed and time left are those of the steps since the line before. Used by rank 0 only.
    """

    def __init__(
        self,
        steps: int,
        clock: Callable[[], float] = time.monotonic,
        show: Callable[[str], None] = lambda line: print(line, flush=True),
    ) -> None:
        self._steps, self._clock, self._show = steps, clock, show
        self._said: tuple[float, StepRecord] | None = None
        self._last: StepRecord | None = None

    def begin(self, step: int) -> None:
        self._said = None

    def on_step_end(self, record: StepRecord) -> None:
        self._last = record
        if self._said is None or self._clock() - self._said[0] >= INTERVAL:
            self._say(record)

    def close(self, ending: Ending) -> None:
        if self._last is not None and self._said is not None and self._said[1] is not self._last:
            self._say(self._last)

    def _say(self, record: StepRecord) -> None:
        now = self._clock()
        parts = ["loss not finite" if record.loss is None else f"loss {record.loss:.4f}"]
        if record.validation_loss is not None:
            parts.append(f"validation loss {record.validation_loss:.4f}")
        if self._said is not None and now > self._said[0]:
            then, before = self._said
            seconds = now - then
            parts.append(f"{(record.tokens - before.tokens) / seconds:,.0f} tokens/s")
            if left := self._steps - record.step:
                parts.append(f"{duration(left * seconds / (record.step - before.step))} left")
        self._said = now, record
        self._show(f"step {record.step:,} of {self._steps:,}: {', '.join(parts)}")


def status_in(line: str) -> str:
    """What a line of `StatusLines` says behind the step; "" for another line."""
    found = _LINE.fullmatch(line.strip())
    return found["status"] if found else ""


def duration(seconds: float) -> str:
    """A duration in its two largest units: ``5 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = max(0, round(seconds))
    for size, name, smaller, unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name}" + (f" {rest} {unit}" if rest else "")
    return f"{whole} s"
