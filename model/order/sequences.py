"""The interface of data orders: sequence i of a run, its location, and the sequences that hold a range of tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from infra.store.digests import key_of
from infra.store.tokens import Tokens


@dataclass(frozen=True)
class MixtureSource:
    """One source: its share of the sequences (any positive number), its largest number of passes, and its tokens.

    `digest` identifies the tokens by content, however they are cut into files. `epochs` is a limit and does not change
    the order.
    """

    name: str
    weight: float
    epochs: int
    digest: str
    file: Tokens


@dataclass(frozen=True, slots=True)
class Location:
    """The location of a sequence: the source, the pass over it (from 0), the window, and its spans of the file.

    `epoch` is None in an order that mixes the documents of all passes. `spans` are (first token, tokens), counted over
    the whole file, in the order of the sequence; together they are length + 1 tokens.
    """

    source: str
    epoch: int | None
    window: int
    spans: tuple[tuple[int, int], ...]


class Order(Protocol):
    """The sequences of a run, identified by `fingerprint` and `seed`."""

    @property
    def length(self) -> int:
        """The model's sequence length in tokens; a sequence holds one token more."""

    @property
    def seed(self) -> int:
        """The seed of the order."""

    @property
    def fingerprint(self) -> str:
        """A digest of the sources' content, the mixture, the length and the packing."""

    @property
    def sequences(self) -> int:
        """The number of sequences."""

    def file(self, source: str) -> Tokens:
        """The tokens of the source of that name. Raises KeyError when there is none."""

    def locate(self, index: int) -> Location:
        """The location of sequence `index`. Raises IndexError, with the cure, outside [0, sequences)."""

    def tokens(self, index: int) -> NDArray[np.int64]:
        """The tokens of sequence `index`; shape (length + 1,). Raises IndexError outside [0, sequences)."""

    def holding(self, source: str, first: int, past: int, stop: int) -> list[int]:
        """The sequences below `stop` that hold any of the tokens [first, past) of a source's file, in order."""


def read_spans(file: Tokens, spans: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """The tokens of the `spans` of a file, concatenated; shape (sum of their tokens,)."""
    if len(spans) == 1:
        return file.read(*spans[0]).astype(np.int64)
    return np.concatenate([file.read(first, count) for first, count in spans]).astype(np.int64)


def check_sources(sources: Sequence[MixtureSource], length: int) -> None:
    """Raise ValueError for missing or duplicate sources, a weight not above 0, or epochs or a length below 1."""
    names = [source.name for source in sources]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"sources: {names}; give at least one, with names that differ")
    if length < 1:
        raise ValueError(f"sequence length is {length}; it must be at least 1")
    for source in sources:
        if not source.weight > 0 or source.epochs < 1:
            raise ValueError(
                f"source {source.name}: weight {source.weight} and epochs {source.epochs} must be positive"
            )


def too_short(name: str, tokens: int, length: int) -> ValueError:
    """The error for a source that is shorter than one sequence."""
    return ValueError(
        f"source {name} holds {tokens} tokens, fewer than one sequence of {length + 1}; give it more documents or "
        "shorten the sequences"
    )


def sequences_digest(fingerprint: str, seed: int, indices: Sequence[int]) -> str:
    """The sha256 that identifies the sequences of one step in its record."""
    first, stop = indices[0], indices[-1] + 1
    # Almost always a contiguous range, which its ends identify.
    return key_of([fingerprint, seed, first, stop] if stop - first == len(indices) else [fingerprint, seed, *indices])


def tokens_digest(order: Order, indices: Iterable[int]) -> str:
    """The sha256 of the tokens of the sequences `indices`, as little-endian int64."""
    digest = hashlib.sha256()
    for index in indices:
        digest.update(order.tokens(index).astype("<i8").tobytes())
    return digest.hexdigest()
