"""What every data order gives: sequence i of a run, where it lies, and which sequences hold a stretch of tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from infra.store.digests import key_of
from infra.store.tokens import TokenFile


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
    """Where a sequence lies: the source, the pass over it (from 0), the window, and its stretches of the file.

    `epoch` is None in an order that mixes the documents of all passes. `spans` are (first token, tokens), counted over
    the whole file, in the order in which the sequence holds them; together they are length + 1 tokens.
    """

    source: str
    epoch: int | None
    window: int
    spans: tuple[tuple[int, int], ...]


class Order(Protocol):
    """The sequences of a run. `fingerprint` covers all that decides them but the seed."""

    @property
    def length(self) -> int:
        """Tokens that the model reads of a sequence, which holds one more."""

    @property
    def seed(self) -> int:
        """The seed of the order."""

    @property
    def fingerprint(self) -> str:
        """The digest of sources by content, mixture, length and packing."""

    @property
    def sequences(self) -> int:
        """How many sequences there are."""

    def file(self, source: str) -> TokenFile:
        """The tokens of the source of that name. Raises KeyError when there is none."""

    def locate(self, index: int) -> Location:
        """Where sequence `index` lies. Raises IndexError, with the cure, outside [0, sequences)."""

    def tokens(self, index: int) -> NDArray[np.int64]:
        """The tokens of sequence `index`; shape (length + 1,). Raises IndexError outside [0, sequences)."""

    def holding(self, source: str, first: int, past: int, stop: int) -> list[int]:
        """The sequences below `stop` that hold any of the tokens [first, past) of a source's file, in order."""


def read_spans(file: TokenFile, spans: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """The tokens of some stretches of a file, one after the other; shape (sum of their tokens,)."""
    if len(spans) == 1:
        return file.read(*spans[0]).astype(np.int64)
    return np.concatenate([file.read(first, count) for first, count in spans]).astype(np.int64)


def check_sources(sources: Sequence[MixtureSource], length: int) -> None:
    """Raise ValueError, naming it, for what no order can have: no or equal sources, weights, passes or a length."""
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
    """The error of a source that does not hold one sequence."""
    return ValueError(
        f"source {name} holds {tokens} tokens, fewer than one sequence of {length + 1}; give it more documents or "
        "shorten the sequences"
    )


def sequences_digest(fingerprint: str, seed: int, indices: Sequence[int]) -> str:
    """The sha256 that stands on record for the sequences of one step."""
    first, stop = indices[0], indices[-1] + 1
    # Nearly always a stretch; then its ends say it all.
    return key_of([fingerprint, seed, first, stop] if stop - first == len(indices) else [fingerprint, seed, *indices])


def tokens_digest(order: Order, indices: Iterable[int]) -> str:
    """The sha256 of the tokens of some sequences, as little-endian int64."""
    digest = hashlib.sha256()
    for index in indices:
        digest.update(order.tokens(index).astype("<i8").tobytes())
    return digest.hexdigest()
