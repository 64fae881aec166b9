"""Histograms that add up values shard by shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Values that range from near zero to more than a few tens (words, lengths) need a logarithmic axis.
_LOGARITHMIC_ABOVE = 50.0
_BINS = 40


@dataclass(frozen=True, slots=True)
class Histogram:
    """`series` are (name, counts) in stacking order; there is one more of `edges` than of counts.

    A bin includes its lower edge and excludes its upper one, except that the last bin includes both. Values beyond the
    edges count in the first or the last bin.
    """

    edges: tuple[float, ...]
    series: tuple[tuple[str, tuple[int, ...]], ...]
    logarithmic: bool = False

    @property
    def total(self) -> int:
        """The number of values."""
        return sum(sum(counts) for _, counts in self.series)


class HistogramCounter:
    """Counts values per series in the bins between `edges`."""

    def __init__(self, edges: np.ndarray, series: Sequence[str], logarithmic: bool = False) -> None:
        self._edges, self._logarithmic = edges, logarithmic
        self._counts = {name: np.zeros(len(edges) - 1, np.int64) for name in series}

    def add(self, series: str, values: np.ndarray) -> None:
        """Count values, shape (n,), without NaN."""
        if len(values):
            inside = np.clip(values.astype(np.float64), self._edges[0], self._edges[-1])
            self._counts[series] += np.histogram(inside, self._edges)[0]

    def result(self) -> Histogram:
        """The histogram from the first to the last non-empty bin."""
        totals = sum(self._counts.values(), start=np.zeros(len(self._edges) - 1, np.int64))
        filled = np.flatnonzero(totals)
        first, last = (int(filled[0]), int(filled[-1])) if len(filled) else (0, 0)
        return Histogram(
            edges=tuple(float(edge) for edge in self._edges[first : last + 2]),
            series=tuple((name, tuple(counts[first : last + 1].tolist())) for name, counts in self._counts.items()),
            logarithmic=self._logarithmic,
        )


def logarithmic_edges(least: float, most: float, bins_per_decade: int) -> np.ndarray:
    """Edges at 10 ** (k / bins_per_decade) that cover `least` to `most`, both positive."""
    first = np.floor(np.log10(least) * bins_per_decade + 1e-9)
    last = np.ceil(np.log10(most) * bins_per_decade - 1e-9)
    return 10.0 ** (np.arange(first, max(last, first + 1) + 1) / bins_per_decade)


def edges_between(least: float, most: float) -> tuple[np.ndarray, bool]:
    """Edges for values from `least` to `most`, and whether they are logarithmic; if so, values below 1 count as 1."""
    if least >= 0 and most > _LOGARITHMIC_ABOVE:
        decades = np.log10(most / max(least, 1.0)) or 1.0
        return logarithmic_edges(max(least, 1.0), most, max(4, round(_BINS / decades))), True
    if least >= 0 and most <= 1:
        return np.round(np.linspace(0, 1, _BINS + 1), 6), False
    return np.linspace(least, most if most > least else least + 1, _BINS + 1), False
