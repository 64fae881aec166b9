"""The context of a block: positions, document boundaries, and the keys and values of earlier tokens.

Shapes: B sequences, S positions, H heads, D dimensions of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


class KeyValueCache:
    """The keys and values of the tokens read so far, one pair for each attention module.

    `capacity` is the largest number of tokens. Memory is allocated at a module's first write.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a cache of {capacity} tokens is too small; it must hold at least 1")
        self.capacity = capacity
        self._held: dict[nn.Module, tuple[Tensor, Tensor, int]] = {}

    def extend(self, owner: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, H, S, D) of `owner` and return all of its keys and values.

        Raises ValueError when they exceed the capacity.
        """
        if owner not in self._held:
            shape = (*key.shape[:2], self.capacity, key.shape[3])
            self._held[owner] = (key.new_empty(shape), value.new_empty(shape), 0)
        keys, values, start = self._held[owner]
        end = start + key.shape[2]
        if end > self.capacity:
            raise ValueError(f"{end} tokens do not fit a cache of {self.capacity}; create a larger one")
        keys[:, :, start:end], values[:, :, start:end] = key, value
        self._held[owner] = (keys, values, end)
        return keys[:, :, :end], values[:, :, :end]


@dataclass(frozen=True)
class Context:
    """By default one document with positions from 0.

    `positions` (B, S) or (S), int64: the position of each token; None means 0 … S - 1.
    `documents` (B, S), int64: the document of each token; attention stays within a document (see `packed`).
    `cache`: tokens also attend to all cached tokens. `positions` must then give the positions of the new tokens.
    """

    positions: Tensor | None = None
    documents: Tensor | None = None
    cache: KeyValueCache | None = None

    def __post_init__(self) -> None:
        if self.documents is not None and self.cache is not None:
            raise ValueError("context: give a cache or documents, not both; a cache holds one document per row")

    @property
    def mask(self) -> Tensor | None:
        """(B, 1, S, S), true where a token may attend: to itself and to earlier tokens of its document."""
        if self.documents is None:
            return None
        same = self.documents.unsqueeze(2) == self.documents.unsqueeze(1)
        return same.tril().unsqueeze(1)


def packed(tokens: Tensor, end_of_document: int) -> Context:
    """The context in which attention and positions restart at each document of `tokens` (B, S)."""
    documents = number_documents(tokens, end_of_document)
    return Context(positions_in_documents(documents), documents)


def number_documents(tokens: Tensor, end_of_document: int) -> Tensor:
    """The document number of each token, counted from 0 in each sequence: (B, S), int64.

    An end-of-document token belongs to the document that it ends.
    """
    ends = (tokens == end_of_document).long()
    return ends.cumsum(-1) - ends


def positions_in_documents(documents: Tensor) -> Tensor:
    """The position of each token in its document: (B, S), int64; `documents` as from `number_documents`."""
    index = torch.arange(documents.shape[-1], device=documents.device).expand_as(documents)
    first = torch.ones_like(documents, dtype=torch.bool)
    first[..., 1:] = documents[..., 1:] != documents[..., :-1]
    return index - (index * first).cummax(-1).values
