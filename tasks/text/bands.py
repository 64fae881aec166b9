"""Keys of the bands of MinHash signatures, for locality-sensitive hashing."""

from __future__ import annotations

import numpy as np

from infra.compiled import njit
from tasks.text.mixing import mix


def band_keys(signatures: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """The key of each band of each signature: uint64, shape (documents, bands). `signatures`: uint32."""
    return _band_keys(np.ascontiguousarray(signatures), bands, rows)


@njit(cache=True)
def _band_keys(signatures: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """Each band's number and values go in order through `tasks.text.mixing`."""
    keys = np.empty((signatures.shape[0], bands), np.uint64)
    for document in range(signatures.shape[0]):
        for band in range(bands):
            state = np.uint64(band + 1)
            for value in signatures[document, band * rows : (band + 1) * rows]:
                state = mix((state + np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(value))
            keys[document, band] = state
    return keys
