"""Which source each sequence is from: the mixture as integers, the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# The mixture repeats after this many sequences, so a weight is met to within 1 / 16,384.
PERIOD = 1 << 14


def mixture_schedule(weights: Sequence[float]) -> NDArray[np.int64]:
    """Which source each of PERIOD sequences is from; shape (PERIOD,).

    Shares are rounded to whole sequences by largest remainder, and sequence t goes to the source that is furthest
    behind its share of t + 1, so that any stretch of it is close to the shares. Integers only: the same everywhere.
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
