"""The source of each sequence: the mixture in integer arithmetic, the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# The schedule repeats after this many sequences, so weights are exact to within 1 / 16,384.
PERIOD = 1 << 14


class Mixture:
    """The source of each sequence, by weight. The n-th sequence of a source, counted from 0, is its draw n."""

    def __init__(self, weights: Sequence[float]) -> None:
        self._schedule = mixture_schedule(weights)
        chosen = self._schedule[:, None] == np.arange(len(weights))
        self._taken = np.vstack((np.zeros(len(weights), np.int64), np.cumsum(chosen, axis=0)))
        self._places = [np.flatnonzero(chosen[:, number]) for number in range(len(weights))]

    def draw(self, index: int) -> tuple[int, int]:
        """The source number of sequence `index`, and its draw number within that source."""
        block, place = divmod(index, PERIOD)
        number = int(self._schedule[place])
        return number, block * int(self._taken[PERIOD, number]) + int(self._taken[place, number])

    def drawn(self, sequences: int) -> NDArray[np.int64]:
        """The number of each source's sequences among the first `sequences`; shape (sources,)."""
        blocks, place = divmod(sequences, PERIOD)
        drawn: NDArray[np.int64] = blocks * self._taken[PERIOD] + self._taken[place]
        return drawn

    def index(self, number: int, draw: int) -> int:
        """The sequence that is draw `draw` of source `number`; a source with `draw` draws runs out there."""
        block, rest = divmod(draw, int(self._taken[PERIOD, number]))
        return block * PERIOD + int(self._places[number][rest])


def mixture_schedule(weights: Sequence[float]) -> NDArray[np.int64]:
    """The source number of each of PERIOD sequences; shape (PERIOD,).

    Shares are rounded to whole sequences by largest remainder. Sequence t goes to the source furthest behind its share
    of t + 1, so every stretch of the schedule is close to the shares.
    """
    total = sum(weights)
    exact = [weight / total * PERIOD for weight in weights]
    shares = [max(1, int(share)) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda number: (int(exact[number]) - exact[number], number))
    for number in by_remainder[: max(0, PERIOD - sum(shares))]:
        shares[number] += 1
    while sum(shares) > PERIOD:
        shares[shares.index(max(shares))] -= 1
    behind = np.zeros(len(weights), np.int64)
    schedule = np.empty(PERIOD, np.int64)
    for place in range(PERIOD):
        behind += shares
        chosen = int(behind.argmax())
        behind[chosen] -= PERIOD
        schedule[place] = chosen
    return schedule
