"""Meters of energy: counters, power added up, rated power times the time, and what goes on when the hardware fails.

`model.accounting.hardware` finds those of a machine.
"""

from __future__ import annotations

import time
from collections import Counter as Counted
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Basis = Literal["measured", "estimated", "unknown"]


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules since a meter was made, None when unknown; `by` says what told them, `note` what people should know."""

    joules: float | None
    basis: Basis
    by: str
    note: str = ""


def total(energies: Sequence[Energy]) -> Energy:
    """The sum of several; unknown when one of them is, and measured only when all are."""
    by = Counted(energy.by for energy in energies)
    names = "; ".join(f"{count} × {name}" if count > 1 else name for name, count in by.items())
    joules = [energy.joules for energy in energies if energy.joules is not None]
    if not energies or len(joules) < len(energies):
        return Energy(None, "unknown", names)
    measured = all(energy.basis == "measured" for energy in energies)
    return Energy(sum(joules), "measured" if measured else "estimated", names)


class Meter(Protocol):
    """Counts from the moment it is made. Read it at least every few minutes: counters wrap around."""

    def read(self) -> Energy:
        """The energy so far; never less than before."""
        ...


class CounterMeter:
    """Hardware counters of microjoules, each of which begins again at 0 after its `range` microjoules.

    One that goes back further than half its range has not gone around: its device was reset, and it counts from 0.
    """

    def __init__(self, counters: Sequence[Counter], by: str) -> None:
        self._counters, self._by = counters, by
        self._last = [counter.read() for counter in counters]
        self._microjoules = 0

    def read(self) -> Energy:
        for number, counter in enumerate(self._counters):
            now = counter.read()
            gone = now - self._last[number]
            if gone < 0:
                around = gone + counter.range
                gone = around if around < counter.range / 2 else now
            self._microjoules += gone
            self._last[number] = now
        return Energy(self._microjoules / 1e6, "measured", self._by)


@dataclass(frozen=True)
class Counter:
    """`read` gives microjoules that grow up to `range` and then begin again."""

    read: Callable[[], int]
    range: int


class PowerMeter:
    """The power that `watts` tells, added up between readings by the trapezoid rule."""

    def __init__(self, watts: Callable[[], float], by: str, now: Callable[[], float] = time.monotonic) -> None:
        self._watts, self._by, self._now = watts, by, now
        self._joules, self._last = 0.0, (now(), watts())

    def read(self) -> Energy:
        then, before = self._last
        self._last = now, watts = self._now(), self._watts()
        self._joules += (now - then) * (before + watts) / 2
        return Energy(self._joules, "measured", self._by)


class RatedMeter:
    """An estimate: rated watts times the time; unknown where no rating is known."""

    def __init__(self, watts: float | None, of: str, now: Callable[[], float] = time.monotonic) -> None:
        self._watts, self._of, self._now, self._began = watts, of, now, now()

    def read(self) -> Energy:
        if self._watts is None:
            return Energy(None, "unknown", f"no meter and no rated power for {self._of}")
        joules = self._watts * (self._now() - self._began)
        return Energy(joules, "estimated", f"rated {self._watts:g} W of {self._of} times the time")


class LastingMeter:
    """A meter whose hardware may fail: an estimate goes on from its last reading, and a note says so and why.

    It fails by raising one of `errors`; making this one asks it once, and raises what it raises then. The estimate is
    of `rated` watts, or of the mean power before where none are known; without either the energy is unknown from then
    on. What has failed is not asked again: energy never becomes less than it was.
    """

    def __init__(
        self,
        meter: Meter,
        rated: float | None,
        errors: tuple[type[Exception], ...],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._meter, self._rated, self._errors, self._now = meter, rated, errors, now
        self._last = meter.read()
        self._began = self._at = now()
        self._error = ""

    def read(self) -> Energy:
        now = self._now()
        if not self._error:
            try:
                self._last, self._at = self._meter.read(), now
                return self._last
            except self._errors as error:
                self._error = str(error) or type(error).__name__
        before, by = self._last.joules or 0.0, self._last.by
        failed = f"{by} failed ({self._error})"
        watts = self._rated
        if watts is None and before and self._at > self._began:
            watts = before / (self._at - self._began)
        if watts is None:
            return Energy(None, "unknown", by, f"{failed}; nothing tells its energy since")
        kind = "the mean before" if self._rated is None else "rated"
        note = f"{failed}; its energy since is estimated by {watts:.4g} W, {kind}, times the time"
        return Energy(before + watts * (now - self._at), "estimated", by, note)
