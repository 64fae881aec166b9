"""Edits that strike whole lines of texts, so that the lines which stay are joined as before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.documents import EDITS_TYPE


@dataclass(frozen=True)
class Struck:
    """A row a document: its `edits`, its `lines`, how many are `struck` (int32), and their `size` in bytes (int64)."""

    edits: pa.Array
    lines: pa.Array
    struck: pa.Array
    size: pa.Array


def strike(
    document: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    end: npt.NDArray[np.int64],
    kept: npt.NDArray[np.bool_],
    count: int,
) -> Struck:
    """Strike all lines but those `kept`, of `count` documents.

    `document`, `start` and `end` (bytes, without the line feed) say where each line is, in order. An edit removes a run
    of lines including the line feed before the next kept line, or after the last kept one.
    """
    number = np.bincount(document, minlength=count)
    struck = np.bincount(document[~kept], minlength=count)
    starts, ends, owner = _spans(document, start, end, kept)
    edits = pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))]).astype(np.int32)),
        pa.StructArray.from_arrays(
            [pa.array(starts), pa.array(ends), pa.array([""] * len(starts), pa.string())],
            fields=list(EDITS_TYPE.value_type),
        ),
    )
    size = np.zeros(count, np.int64)
    np.add.at(size, owner, ends - starts)
    return Struck(
        edits.cast(EDITS_TYPE), pa.array(number.astype(np.int32)), pa.array(struck.astype(np.int32)), pa.array(size)
    )


def _spans(
    document: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    end: npt.NDArray[np.int64],
    kept: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Start, end and document of each run of struck lines."""
    total = len(kept)
    opens = np.ones(total, bool)
    opens[1:] = np.diff(document) != 0
    closes = np.append(opens[1:], True)[:total]
    struck = ~kept
    first = np.flatnonzero(struck & (opens | np.append(True, kept[:-1])[:total]))
    last = np.flatnonzero(struck & (closes | np.append(kept[1:], True)[:total]))
    starts, ends = start[first].copy(), end[last].copy()
    # Up to the next line, or at the end of a document from the end of the line before.
    inner = ~closes[last]
    ends[inner] = start[last[inner] + 1]
    at_end = closes[last] & ~opens[first]
    starts[at_end] = end[first[at_end] - 1]
    return starts, ends, document[first]
