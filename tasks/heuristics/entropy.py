"""The entropy of the words of a text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def entropy(numbers: npt.NDArray[np.int64]) -> float:
    """-Σ p ln p over the shares p of equal numbers, in nats. The numbers are from 0, without gaps."""
    if not len(numbers):
        return 0.0
    shares = np.bincount(numbers) / len(numbers)
    return float(-(shares * np.log(shares)).sum())
