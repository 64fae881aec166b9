"""Fingerprints: n-grams of a text, chosen so that a text and one that contains it have some in common.

Winnowing (Schleimer, Wilkerson, Aiken, Winnowing: Local Algorithms for Document Fingerprinting, 2003): of every window
of n-grams, the one with the least hash. Two texts with a run of `_WORDS` + `_WINDOW` - 1 equal words have at least one
in common.
"""

from __future__ import annotations

import numpy as np

from infra.compiled import njit
from tasks.text.similarity import ngram_hashes

_WORDS = 5
_WINDOW = 8  # 2 / (window + 1) of the n-grams are chosen


def fingerprints(words: np.ndarray) -> np.ndarray:
    """The distinct fingerprints of a text, ascending: uint64. `words`: the hashes of its words, uint64."""
    return _fingerprints(words) if words.size else np.empty(0, np.uint64)


@njit(cache=True)
def _fingerprints(words: np.ndarray) -> np.ndarray:
    hashes = ngram_hashes(words, _WORDS)
    window = min(_WINDOW, hashes.size)
    chosen = np.empty(hashes.size, np.uint64)
    count = 0
    least = -1
    for end in range(window, hashes.size + 1):
        start = end - window
        if least < start:
            least = start
            for index in range(start + 1, end):
                if hashes[index] <= hashes[least]:
                    least = index
        elif hashes[end - 1] <= hashes[least]:
            least = end - 1
        elif end > window:
            continue
        chosen[count] = hashes[least]
        count += 1
    chosen = np.sort(chosen[:count])
    kept = 1
    for index in range(1, chosen.size):
        if chosen[index] != chosen[kept - 1]:
            chosen[kept] = chosen[index]
            kept += 1
    return chosen[:kept].copy()
