"""GPT-NeoX's blend of sources: each sequence comes from the source furthest behind its weight.

From `megatron/data/blendable_dataset.py` and `helpers.cpp`, `build_blending_indices`, in the same double precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_SOURCES = 254  # GPT-NeoX stores a source's number in one byte and requires fewer than 255
_STRETCH = 4096
_LEAD = 1024

_Counts = NDArray[np.float64]


def samples_of_sources(weights: Sequence[float], samples: int) -> list[int]:
    """Samples to prepare of each source: its share plus 0.5 % (`get_normalized_weights_and_num_samples`)."""
    total = sum(weights)
    return [math.ceil(samples * (weight / total) * 1.005) for weight in weights]


def blend(weights: Sequence[float], size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The source of each of `size` sequences, and its sample number within that source; shapes (size,).

    Sequence i goes to the source with the largest weight · max(i, 1) - (sequences it has), the first among equals.
    Each choice depends on all earlier ones, but the effect of the starting counts soon vanishes. Many stretches are
    therefore computed at once, each from counts estimated _LEAD sequences before it. A stretch whose starting counts
    differ from the end of the previous stretch is computed again.
    """
    total = sum(weights)
    # Divide twice, as the original does: the second division can change the last bit.
    shares = np.array([weight / total for weight in weights], np.float64)
    shares /= np.sum(shares)
    starts = np.arange(0, size, _STRETCH)
    ahead = np.maximum(starts[1:] - _LEAD, 0)
    _, found = _walk(shares, ahead, _nearest(shares, ahead), _LEAD)
    given = np.vstack((np.zeros((1, len(shares))), found))[: len(starts)]
    chosen, ends = _walk(shares, starts, given, _STRETCH)
    for stretch in range(1, len(starts)):
        if (ends[stretch - 1] != given[stretch]).any():
            again, end = _walk(shares, starts[stretch : stretch + 1], ends[stretch - 1 : stretch], _STRETCH)
            chosen[:, stretch], ends[stretch] = again[:, 0], end[0]
    sources = chosen.T.reshape(-1)[:size]
    ranks = np.empty(size, np.int64)
    for number in range(len(shares)):
        places = np.flatnonzero(sources == number)
        ranks[places] = np.arange(len(places))
    return sources, ranks


def _walk(
    shares: NDArray[np.float64], starts: NDArray[np.int64], given: _Counts, steps: int
) -> tuple[NDArray[np.uint8], _Counts]:
    """The choices (steps, stretches) from several `starts` with the counts `given`, and the counts at the end."""
    given = given.copy()
    chosen = np.empty((steps, len(starts)), np.uint8)
    rows = np.arange(len(starts))
    for step in range(steps):
        position = np.maximum(starts + step, 1).astype(np.float64)[:, None]
        numbers = (shares * position - given).argmax(1)
        given[rows, numbers] += 1.0
        chosen[step] = numbers
    return chosen, given


def _nearest(shares: NDArray[np.float64], positions: NDArray[np.int64]) -> _Counts:
    """Estimated counts at each position: its shares rounded by largest remainder, so that they add up to it."""
    exact = shares * positions[:, None]
    given = np.floor(exact)
    missing = positions - given.sum(1)
    by_remainder = np.argsort(np.argsort(given - exact, axis=1, kind="stable"), axis=1)
    rounded: _Counts = given + (by_remainder < missing[:, None])
    return rounded
