"""Which tokens sequence i holds: a pure function of the data, the seed and i.

Workers, ranks, micro-batches, accumulation and the length of the run do not enter. A source is the concatenation of
its documents in file order, cut into windows of `length` + 1 tokens that overlap by one, so that every token but the
first is a label once (GPT-NeoX's packing; documents straddle windows, and attention is not reset between them). Each
pass over a source reads its windows in an order of its own, a keyed permutation that is computed, not stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.store.digests import canonical, key_of
from infra.store.tokens import TokenFile

# The mixture repeats after this many sequences, so a weight is met to within 1 / 16,384.
PERIOD = 1 << 14
ROUNDS = 6


@dataclass(frozen=True)
class MixtureSource:
    """One source: its share of the sequences (any positive number), the passes it may be read, and its tokens.

    `digest` identifies the two files by content; `epochs` is a limit and does not change the order.
    """

    name: str
    weight: float
    epochs: int
    digest: str
    file: TokenFile


@dataclass(frozen=True, slots=True)
class Location:
    """Where a sequence lies: the source, the pass over it (from 0), the window and its first token in the file."""

    source: str
    epoch: int
    window: int
    first_token: int


class DataOrder:
    """The sequences of a run. `length` is the model's sequence length in tokens; a sequence holds one token more.

    Raises ValueError when there is no source, two have one name, a weight or limit is not positive, or a source is
    shorter than one sequence.
    """

    def __init__(self, sources: Sequence[MixtureSource], length: int, seed: int) -> None:
        self.sources, self.length, self.seed = tuple(sources), length, seed
        if not self.sources or len({source.name for source in self.sources}) != len(self.sources):
            raise ValueError(
                f"sources: {[source.name for source in self.sources]}; give at least one, with names that differ"
            )
        if length < 1:
            raise ValueError(f"sequence length is {length}; it must be at least 1")
        for source in self.sources:
            if not source.weight > 0 or source.epochs < 1:
                raise ValueError(
                    f"source {source.name}: weight {source.weight} and epochs {source.epochs} must be positive"
                )
        self.windows = [(source.file.tokens - 1) // length for source in self.sources]
        for source, windows in zip(self.sources, self.windows, strict=True):
            if windows < 1:
                raise ValueError(
                    f"source {source.name}: {source.file.bin_path} holds {source.file.tokens} tokens, fewer than "
                    f"one sequence of {length + 1}; give it more documents or shorten the sequences"
                )
        self.fingerprint = key_of(
            {
                "length": length,
                "sources": [[source.name, float(source.weight), source.digest] for source in self.sources],
            }
        )
        self._schedule = mixture_schedule([source.weight for source in self.sources])
        chosen = self._schedule[:, None] == np.arange(len(self.sources))
        self._taken = np.vstack((np.zeros(len(self.sources), np.int64), np.cumsum(chosen, axis=0)))
        self.sequences = self._available()

    def locate(self, index: int) -> Location:
        """Where sequence `index` lies. Raises IndexError outside [0, sequences)."""
        if not 0 <= index < self.sequences:
            limiting = self._limiting()
            raise IndexError(
                f"sequence {index} of {self.sequences}: source {limiting.name} may be read {limiting.epochs} times; "
                "allow more epochs, add data or shorten the run"
            )
        block, place = divmod(index, PERIOD)
        number = int(self._schedule[place])
        drawn = block * int(self._taken[PERIOD, number]) + int(self._taken[place, number])
        epoch, rank = divmod(drawn, self.windows[number])
        source = self.sources[number]
        key = hashlib.sha256(canonical([self.fingerprint, self.seed, source.name, epoch])).digest()
        window = permuted(rank, self.windows[number], key)
        return Location(source.name, epoch, window, window * self.length)

    def tokens(self, index: int) -> NDArray[np.int64]:
        """The length + 1 tokens of sequence `index`. Raises IndexError outside [0, sequences)."""
        location = self.locate(index)
        source = next(source for source in self.sources if source.name == location.source)
        return source.file.read(location.first_token, self.length + 1).astype(np.int64)

    def counts(self, sequences: int) -> dict[str, int]:
        """How many of the first `sequences` sequences each source gives."""
        return dict(zip((source.name for source in self.sources), map(int, self._drawn(sequences)), strict=True))

    def _drawn(self, sequences: int) -> NDArray[np.int64]:
        blocks, place = divmod(sequences, PERIOD)
        drawn: NDArray[np.int64] = blocks * self._taken[PERIOD] + self._taken[place]
        return drawn

    def _available(self) -> int:
        return min(self._until(number) for number in range(len(self.sources)))

    def _limiting(self) -> MixtureSource:
        return min(
            zip(map(self._until, range(len(self.sources))), self.sources, strict=True), key=lambda pair: pair[0]
        )[1]

    def _until(self, number: int) -> int:
        """The first sequence that would read the source once more than allowed."""
        allowed = self.windows[number] * self.sources[number].epochs
        blocks, rest = divmod(allowed, int(self._taken[PERIOD, number]))
        # Sequence `place` draws from the source when the running count rises above `rest` just after it.
        place = int(np.searchsorted(self._taken[:, number], rest, side="right")) - 1
        return blocks * PERIOD + place


def sequences_digest(fingerprint: str, seed: int, indices: range) -> str:
    """The sha256 that stands in a logbook for the sequences of one step."""
    return key_of([fingerprint, seed, indices.start, indices.stop])


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


def permuted(index: int, size: int, key: bytes) -> int:
    """Where a permutation of 0 … size - 1, chosen by `key`, sends `index`.

    A Feistel network (Luby and Rackoff 1988) over the next even number of bits, walked until it falls inside the size
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains", section 4); at most four tries on average.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for number in range(ROUNDS):
            left, right = right, left ^ (_round(right, number, key) & mask)
        index = left << half | right
        if index < size:
            return index


def _round(value: int, number: int, key: bytes) -> int:
    text = number.to_bytes(1, "little") + value.to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, key=key).digest(), "little")
