"""Boosted trees: their file, and the probabilities that they give."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.compiled import njit

# Logistic function by table: exponentials differ in their last bit between C libraries, and a text must not.
_STEPS, _MOST = 64, 16
_LOGISTIC = np.round(1 / (1 + np.exp(-np.arange(-_MOST * _STEPS, _MOST * _STEPS + 1) / _STEPS)), 6)


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees as arrays with a row a node: `features` are column numbers, or `first_bit` and more for bits.

    A row goes to the node of `left` if its value is at most the threshold or its bit is 0, otherwise to that of
    `right`; a number below 0 stands for the leaf -1 - number. The log-odds are the sum over the trees' leaves.
    """

    first_bit: int
    roots: npt.NDArray[np.int32]
    features: npt.NDArray[np.int32]
    thresholds: npt.NDArray[np.float64]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    leaves: npt.NDArray[np.float64]

    def probabilities(self, numbers: npt.NDArray[np.float32], bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
        """The probability of each row, shape (rows,); `bits` has 64 in each of its columns."""
        arrays = (self.roots, self.features, self.thresholds, self.left, self.right, self.leaves)
        return _probabilities(numbers, bits, self.first_bit, *arrays)  # type: ignore[no-any-return]


_ARRAYS = ("roots", "features", "thresholds", "left", "right", "leaves")


def read_forests(path: Path, sha256: str) -> list[Forest]:
    """The forests of a file, in their order. Raises ValueError if the file has another digest."""
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(f"{path} is not the file that this version has: its sha256 is {found}, not {sha256}")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return [
            Forest(int(file[f"{n}.first_bit"]), *(file[f"{n}.{name}"] for name in _ARRAYS))
            for n in range(int(file["forests"]))
        ]


def write_forests(path: Path, forests: list[Forest]) -> None:
    """Write forests to a file that `read_forests` reads."""
    arrays: dict[str, Any] = {"forests": np.int64(len(forests))}
    for n, forest in enumerate(forests):
        arrays[f"{n}.first_bit"] = np.int64(forest.first_bit)
        arrays |= {f"{n}.{name}": getattr(forest, name) for name in _ARRAYS}
    np.savez_compressed(path, **arrays)


@njit(cache=True)
def _probabilities(
    numbers: Any,
    bits: Any,
    first_bit: int,
    roots: Any,
    features: Any,
    thresholds: Any,
    left: Any,
    right: Any,
    leaves: Any,
) -> Any:
    result = np.zeros(len(numbers))
    for row in range(len(numbers)):
        log_odds = 0.0
        for root in roots:
            node = root
            while node >= 0:
                feature = features[node]
                if feature < first_bit:
                    low = numbers[row, feature] <= thresholds[node]
                else:
                    bit = feature - first_bit
                    low = (bits[row, bit >> 6] >> np.uint64(bit & 63)) & np.uint64(1) == 0
                node = left[node] if low else right[node]
            log_odds += leaves[-1 - node]
        place = round(log_odds * _STEPS) + _MOST * _STEPS
        result[row] = _LOGISTIC[min(max(place, 0), 2 * _MOST * _STEPS)]
    return result
