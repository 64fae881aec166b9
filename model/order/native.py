"""The native order: sequence i is a pure function of the data, the seed and i.

It does not depend on workers, ranks, micro-batches, gradient accumulation or the length of the run. A source is the
concatenation of its documents in file order, split into windows (`model.order.packing`). Each pass over a source reads
its windows in a different order: a keyed permutation that is computed, not stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from infra.store.digests import canonical, key_of
from infra.store.tokens import Tokens
from model.order.mixture import Mixture
from model.order.packing import Packing, count_windows, stride, windows_holding
from model.order.permutation import original, permuted
from model.order.sequences import Location, MixtureSource, check_sources, read_spans, too_short


class DataOrder:
    """The sequences of a run. `length` is the model's sequence length in tokens; a sequence holds one token more.

    Raises ValueError when there is no source, two sources have the same name, a weight or a number of epochs is not
    positive, or a source is shorter than one sequence.
    """

    def __init__(
        self, sources: Sequence[MixtureSource], length: int, seed: int, packing: Packing = "overlapping"
    ) -> None:
        check_sources(sources, length)
        self.sources, self.length, self.seed, self.packing = tuple(sources), length, seed, packing
        self.windows = [count_windows(source.file.tokens, packing, length) for source in self.sources]
        for source, windows in zip(self.sources, self.windows, strict=True):
            if windows < 1:
                raise too_short(source.name, source.file.tokens, length)
        self.fingerprint = key_of(
            {
                "order": "native",
                "packing": packing,
                "length": length,
                "sources": [[source.name, float(source.weight), source.digest] for source in self.sources],
            }
        )
        self._numbers = {source.name: number for number, source in enumerate(self.sources)}
        self._mixture = Mixture([source.weight for source in self.sources])
        self._key = lru_cache(maxsize=4 * len(self.sources))(self._key_of_pass)
        # The first sequence that would exceed each source's epochs.
        limits = [windows * source.epochs for windows, source in zip(self.windows, self.sources, strict=True)]
        self._ends = [self._mixture.index(number, limit) for number, limit in enumerate(limits)]
        self.sequences = min(self._ends)

    def file(self, source: str) -> Tokens:
        """The tokens of the source of that name. Raises KeyError when there is none."""
        return self.sources[self._numbers[source]].file

    def locate(self, index: int) -> Location:
        """The location of sequence `index`. Raises IndexError outside [0, sequences)."""
        if not 0 <= index < self.sequences:
            limiting = self.sources[self._ends.index(self.sequences)]
            raise IndexError(
                f"sequence {index} of {self.sequences}: source {limiting.name} may be read {limiting.epochs} times; "
                "allow more epochs, add data or shorten the run"
            )
        number, draw = self._mixture.draw(index)
        epoch, rank = divmod(draw, self.windows[number])
        window = permuted(rank, self.windows[number], self._key(number, epoch))
        span = (window * stride(self.packing, self.length), self.length + 1)
        return Location(self.sources[number].name, epoch, window, (span,))

    def tokens(self, index: int) -> NDArray[np.int64]:
        """The tokens of sequence `index`; shape (length + 1,). Raises IndexError outside [0, sequences)."""
        location = self.locate(index)
        return read_spans(self.file(location.source), location.spans)

    def holding(self, source: str, first: int, past: int, stop: int) -> list[int]:
        """The sequences below `stop` that hold any of the tokens [first, past) of a source's file, in order.

        Inverts the permutation of each pass: a few steps per window and pass, independent of the run's size.
        """
        number = self._numbers[source]
        windows, stop = self.windows[number], min(stop, self.sequences)
        wanted = windows_holding(first, past, self.packing, self.length, windows)
        passes = -(-int(self._mixture.drawn(stop)[number]) // windows)
        found = (
            self._mixture.index(number, epoch * windows + original(window, windows, self._key(number, epoch)))
            for epoch in range(passes)
            for window in wanted
        )
        return sorted(index for index in found if index < stop)

    def counts(self, sequences: int) -> dict[str, int]:
        """The number of each source's sequences among the first `sequences`, by source name."""
        return dict(
            zip((source.name for source in self.sources), map(int, self._mixture.drawn(sequences)), strict=True)
        )

    def _key_of_pass(self, number: int, epoch: int) -> bytes:
        return hashlib.sha256(canonical([self.fingerprint, self.seed, self.sources[number].name, epoch])).digest()
