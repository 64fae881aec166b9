"""Linear layers and embeddings of which each tensor rank holds a part (Shoeybi et al. 2019, section 3).

With `sequence` what enters a column-parallel layer and leaves a row-parallel one is cut along the sequence
(Korthikanti et al. 2022, section 4.2.2). They take the parameters that a stage has cut.
"""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from model.parallel.collectives import copied, gathered, scattered, summed


class Exchange:
    """What the ranks do with an input before their column-parallel products, once for all products that take it.

    Queries, keys and values read one tensor, and so do the two products of a gated feed-forward. The latest exchange
    is kept until another input comes; one of these serves all layers of a stage.
    """

    def __init__(self, group: Any, sequence: bool) -> None:
        self.group, self.sequence = group, sequence
        self._given: weakref.ref[Tensor] | None = None
        self._whole: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """(B, S, d) whose gradient is summed over the ranks, of an `x` (B, S, d) or, cut, (B, S / t, d)."""
        if self._whole is None or self._given is None or self._given() is not x:
            self._whole = gathered(x, self.group) if self.sequence else copied(x, self.group)
            self._given = weakref.ref(x)
        return self._whole


class ColumnLinear(nn.Module):
    """x W_iᵀ + b_i for the outputs i of this rank: (B, S, d) or (B, S / t, d) to (B, S, outputs / t)."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None, exchange: Exchange) -> None:
        super().__init__()
        self.weight, self.bias, self.exchange = weight, bias, exchange

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(self.exchange(x), self.weight, self.bias)


class RowLinear(nn.Module):
    """Σ_i x_i W_iᵀ + b over the ranks' inputs i: (B, S, inputs / t) to (B, S, d) or (B, S / t, d).

    The bias is whole on every rank and is added once, after the sum. (GPT-NeoX adds every rank's own before it, so
    that its true bias is their sum.)
    """

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None, group: Any, sequence: bool) -> None:
        super().__init__()
        self.group, self.sequence, self.weight, self.bias = group, sequence, weight, bias

    def forward(self, x: Tensor) -> Tensor:
        partial = functional.linear(x, self.weight)
        whole = scattered(partial, self.group) if self.sequence else summed(partial, self.group)
        return whole if self.bias is None else whole + self.bias


class VocabularyEmbedding(nn.Module):
    """The rows of tokens from `first` on, zero for others, summed over the ranks: (B, S) to (B, S, d)."""

    def __init__(self, weight: nn.Parameter, first: int, group: Any) -> None:
        super().__init__()
        self.group, self.first, self.weight = group, first, weight

    def forward(self, tokens: Tensor) -> Tensor:
        mine = (tokens >= self.first) & (tokens < self.first + self.weight.shape[0])
        rows = functional.embedding((tokens - self.first).masked_fill(~mine, 0), self.weight)
        return summed(rows.masked_fill(~mine[..., None], 0.0), self.group)
