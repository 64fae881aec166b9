"""Axes: map values to positions in a drawing, with ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps `least`..`most` to `start`..`end` (in units of the drawing), linearly or logarithmically."""

    least: float
    most: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """The position of a value; values outside the range are clamped."""
        least, most = self._transformed(self.least), self._transformed(self.most)
        value = min(max(self._transformed(value), least), most)
        share = (value - least) / (most - least) if most > least else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int) -> list[float]:
        """Round values inside the range, approximately `about` of them."""
        if self.logarithmic:
            return _logarithmic_ticks(self.least, self.most, about)
        return _linear_ticks(self.least, self.most, about)

    def _transformed(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.logarithmic else value


def round_up(value: float) -> float:
    """The next value of 1, 2, 2.5 or 5 times a power of ten, for the top of an axis."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9))


def tick_label(value: float) -> str:
    """The shortest label of a tick: 1,200 is 1.2k, 0.0001 is 1e-4."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    if value and abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.4g}"


def thinned(values: Sequence[float], most: int) -> list[float]:
    """Every n-th of the values, so that at most `most` remain."""
    step = -(-len(values) // most) if values else 1
    return list(values[::step])


def _linear_ticks(least: float, most: float, about: int) -> list[float]:
    if most <= least:
        return [least]
    step = round_up((most - least) / max(about, 1))
    first = math.ceil(least / step - 1e-9)
    last = math.floor(most / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _logarithmic_ticks(least: float, most: float, about: int) -> list[float]:
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [step * 10.0**power for power in powers for step in steps]
        inside = [tick for tick in ticks if least * (1 - 1e-9) <= tick <= most * (1 + 1e-9)]
        if len(inside) >= min(about, 3):
            break
    return thinned(inside, max(about + 2, 2))
