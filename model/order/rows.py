"""Rows: token files that store the sequences of a run in reading order, one row of length + 1 tokens per sequence.

Pythia's pre-shuffled sets are such files, with 2,049 tokens per row. Step N, counted from 1, read the rows
[1024 (N - 1), 1024 N); Pythia's `utils/batch_viewer.py` calls them batch N - 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.store.digests import key_of
from infra.store.tokens import Tokens, TokenWriter, token_type
from model.order.sequences import Location, MixtureSource, Order, check_sources, read_spans


class RowOrder:
    """Sequence i is row i of the only source.

    The documents within a row are unknown, so `model.analysis.trace` treats a row as one document. Raises ValueError
    for several sources, and for a source whose stored sequences do not all hold `length` + 1 tokens.
    """

    def __init__(self, sources: Sequence[MixtureSource], length: int, seed: int) -> None:
        check_sources(sources, length)
        if len(sources) > 1:
            raise ValueError(f"{len(sources)} sources; rows are read in stored order, so give the one file of rows")
        [self.source] = sources
        self.length, self.seed = length, seed
        sizes = self.source.file.sizes
        wrong = np.flatnonzero(sizes != length + 1)
        if len(wrong) or not len(sizes):
            found = f"row {wrong[0]} holds {sizes[wrong[0]]} tokens" if len(wrong) else "it holds no rows"
            raise ValueError(
                f"source {self.source.name}: {self.source.file.name}: {found}, and a row is one sequence of "
                f"{length + 1}; set the sequence length that the rows were made for, or give files of rows"
            )
        self.sequences = len(sizes)
        self.fingerprint = key_of({"order": "rows", "length": length, "source": self.source.digest})

    def file(self, source: str) -> Tokens:
        """The tokens of the source of that name. Raises KeyError when there is none."""
        if source != self.source.name:
            raise KeyError(source)
        return self.source.file

    def locate(self, index: int) -> Location:
        """The location of sequence `index`. Raises IndexError outside [0, sequences)."""
        if not 0 <= index < self.sequences:
            raise IndexError(
                f"sequence {index} of {self.sequences}: source {self.source.name} has no more rows, and they are read "
                "once; shorten the run or give more rows"
            )
        return Location(self.source.name, 0, index, ((index * (self.length + 1), self.length + 1),))

    def tokens(self, index: int) -> NDArray[np.int64]:
        """The tokens of row `index`; shape (length + 1,). Raises IndexError outside [0, sequences)."""
        return read_spans(self.source.file, self.locate(index).spans)

    def holding(self, source: str, first: int, past: int, stop: int) -> list[int]:
        """The rows below `stop` that hold any of the tokens [first, past), in order."""
        size = self.length + 1
        rows = range(first // size, -(-past // size)) if past > first and source == self.source.name else range(0)
        return list(range(rows.start, min(rows.stop, stop, self.sequences)))


def write_rows(order: Order, indices: Iterable[int], path: Path, vocabulary: int) -> None:
    """Write the sequences `indices` of a run as rows, in the given order.

    The suffix selects the format: a `.bin` with its `.idx`, or one `.npy` array of shape (sequences, length + 1). The
    dtype is that of token files of this vocabulary. Raises ValueError for another suffix, IndexError for an index
    outside the order.
    """
    if path.suffix in (".bin", ".idx"):
        with TokenWriter(path.with_suffix(".bin"), path.with_suffix(".idx"), vocabulary) as writer:
            for index in indices:
                writer.append(order.tokens(index))
    elif path.suffix == ".npy":
        rows = [order.tokens(index) for index in indices]
        np.save(path, np.array(rows).reshape(-1, order.length + 1).astype(token_type(vocabulary)), allow_pickle=False)
    else:
        raise ValueError(f"{path}: give a file that ends in .npy, or in .bin for Megatron's pair of .bin and .idx")
