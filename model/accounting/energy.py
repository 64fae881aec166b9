"""Energy meters: counters, integrated power, rated power times elapsed time, and a fallback for failing hardware.

`model.accounting.hardware` finds the meters of a machine.
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
    """Joules since a meter was created, None when unknown. `by` names the source; `note` is a warning for users."""

    joules: float | None
    basis: Basis
    by: str
    note: str = ""


def total(energies: Sequence[Energy]) -> Energy:
    """The sum of several energies: unknown if any is unknown, measured only if all are."""
    by = Counted(energy.by for energy in energies)
    names = "; ".join(f"{count} × {name}" if count > 1 else name for name, count in by.items())
    joules = [energy.joules for energy in energies if energy.joules is not None]
    if not energies or len(joules) < len(energies):
        return Energy(None, "unknown", names)
    measured = all(energy.basis == "measured" for energy in energies)
    return Energy(sum(joules), "measured" if measured else "estimated", names)


class Meter(Protocol):
    """Counts energy from its creation. Read it at least every few minutes, because counters wrap around."""

    def read(self) -> Energy:
        """The energy so far; it never decreases."""
        ...


class CounterMeter:
    """Hardware counters of microjoules that wrap around to 0 after `range` microjoules.

    If a wrap would mean at least half of `range` since the last reading, the device was reset and counts from 0.
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
    """`read` returns microjoules, which grow up to `range` and then wrap around to 0."""

    read: Callable[[], int]
    range: int


class PowerMeter:
    """The power that `watts` returns, integrated between readings by the trapezoid rule."""

    def __init__(self, watts: Callable[[], float], by: str, now: Callable[[], float] = time.monotonic) -> None:
        self._watts, self._by, self._now = watts, by, now
        self._joules, self._last = 0.0, (now(), watts())

    def read(self) -> Energy:
        then, before = self._last
        self._last = now, watts = self._now(), self._watts()
        self._joules += (now - then) * (before + watts) / 2
        return Energy(self._joules, "measured", self._by)


class RatedMeter:
    """An estimate: rated watts times elapsed time; unknown without a rating."""

    def __init__(self, watts: float | None, of: str, now: Callable[[], float] = time.monotonic) -> None:
        self._watts, self._of, self._now, self._began = watts, of, now, now()

    def read(self) -> Energy:
        if self._watts is None:
            return Energy(None, "unknown", f"no meter and no rated power for {self._of}")
        joules = self._watts * (self._now() - self._began)
        return Energy(joules, "estimated", f"rated {self._watts:g} W of {self._of} times elapsed time")


class LastingMeter:
    """A meter whose hardware may fail. After a failure it continues with an estimate, and its note gives the reason.

    The meter fails by raising one of `errors`; the first reading, at creation, passes errors on. The estimate uses
    `rated` watts, or the mean power before the failure if `rated` is None. Without either, the energy is unknown from
    then on. A failed meter is not read again, so the energy never decreases.
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
            return Energy(None, "unknown", by, f"{failed}; its energy since then is unknown")
        kind = "mean before the failure" if self._rated is None else "rated"
        note = f"{failed}; its energy since then is estimated as {watts:.4g} W ({kind}) times elapsed time"
        return Energy(before + watts * (now - self._at), "estimated", by, note)
