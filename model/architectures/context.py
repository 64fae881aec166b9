"""What a block needs beside its input: positions, the borders of documents, and the keys and values of earlier tokens.

Shapes: B sequences, S positions, H heads, D dimensions of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


class KeyValueCache:
    """The keys and values of the tokens read so far, one pair for each attention module.

    `capacity` is the largest number of tokens it can hold; its memory is taken when a module first writes.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a cache of {capacity} tokens; it must hold at least 1")
        self.capacity = capacity
        self._held: dict[nn.Module, tuple[Tensor, Tensor, int]] = {}

    def extend(self, owner: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values (B, H, S, D) of `owner` and return all of its own so far.

        Raises ValueError when they are more than the capacity.
        """
        if owner not in self._held:
            shape = (*key.shape[:2], self.capacity, key.shape[3])
            self._held[owner] = (key.new_empty(shape), value.new_empty(shape), 0)
        keys, values, start = self._held[owner]
        end = start + key.shape[2]
        if end > self.capacity:
            raise ValueError(f"{end} tokens do not fit a cache of {self.capacity}; make a larger one")
        keys[:, :, start:end], values[:, :, start:end] = key, value
        self._held[owner] = (keys, values, end)
        return keys[:, :, :end], values[:, :, :end]


@dataclass(frozen=True)
class Context:
    """Without anything: one document, whose positions count from 0.

    `positions` (B, S) or (S), int64: where each token stands; None is 0 … S - 1.
    `documents` (B, S), int64: the document of each token, when attention ends at its borders; see `packed`.
    `cache`: a token also attends to all tokens in it. `positions` must then say where the new tokens stand.
    """

    positions: Tensor | None = None
    documents: Tensor | None = None
    cache: KeyValueCache | None = None

    def __post_init__(self) -> None:
        if self.documents is not None and self.cache is not None:
            raise ValueError("a cache holds one document in each row; the context cannot have borders too")

    @property
    def mask(self) -> Tensor | None:
        """(B, 1, S, S), true where a token may attend: to itself and those before it in its document."""
        if self.documents is None:
            return None
        same = self.documents.unsqueeze(2) == self.documents.unsqueeze(1)
        return same.tril().unsqueeze(1)


def packed(tokens: Tensor, end_of_document: int) -> Context:
    """The context in which attention and positions start anew with each document of `tokens` (B, S)."""
    documents = number_documents(tokens, end_of_document)
    return Context(positions_in_documents(documents), documents)


def number_documents(tokens: Tensor, end_of_document: int) -> Tensor:
    """The number of each token's document, counted from 0 in each sequence: (B, S), int64.

    The token that ends a document is the last one of that document.
    """
    ends = (tokens == end_of_document).long()
    return ends.cumsum(-1) - ends


def positions_in_documents(documents: Tensor) -> Tensor:
    """How many tokens of the same document stand before each token: (B, S), int64; `documents` as numbered above."""
    index = torch.arange(documents.shape[-1], device=documents.device).expand_as(documents)
    first = torch.ones_like(documents, dtype=torch.bool)
    first[..., 1:] = documents[..., 1:] != documents[..., :-1]
    return index - (index * first).cummax(-1).values
