"""The mixing of 64-bit hashes."""

from __future__ import annotations

import numpy as np

from infra.compiled import njit


@njit(cache=True)
def mix(state: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
