"""Linear layers and embeddings that are sharded over the tensor ranks (Shoeybi et al. 2019, section 3).

With `sequence`, the input of column-parallel layers and the output of row-parallel layers are sharded along the
sequence (Korthikanti et al. 2022, section 4.2.2). The parameters are passed in, already sharded by the stage.
"""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from model.parallel.collectives import copied, gathered, scattered, summed


class Exchange:
    """The communication before column-parallel matmuls, done once for all layers with the same input.

    Queries, keys and values read one tensor, and so do the two matmuls of a gated feed-forward. The latest result is
    cached until another input arrives. All layers of a stage share one instance.
    """

    def __init__(self, group: Any, sequence: bool) -> None:
        self.group, self.sequence = group, sequence
        self._given: weakref.ref[Tensor] | None = None
        self._whole: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """`x`, (B, S, d) or sharded (B, S / t, d), as (B, S, d); its gradient is summed over the ranks."""
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

    The bias is replicated and added once, after the sum. (In GPT-NeoX each rank adds its own bias before the sum, so
    the effective bias is the sum of all.)
    """

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None, group: Any, sequence: bool) -> None:
        super().__init__()
        self.group, self.sequence, self.weight, self.bias = group, sequence, weight, bias

    def forward(self, x: Tensor) -> Tensor:
        partial = functional.linear(x, self.weight)
        whole = scattered(partial, self.group) if self.sequence else summed(partial, self.group)
        return whole if self.bias is None else whole + self.bias


class VocabularyEmbedding(nn.Module):
    """Embedding rows of this rank's tokens, from `first` on, zero for others, summed over the ranks.

    (B, S) to (B, S, d).
    """

    def __init__(self, weight: nn.Parameter, first: int, group: Any) -> None:
        super().__init__()
        self.group, self.first, self.weight = group, first, weight

    def forward(self, tokens: Tensor) -> Tensor:
        mine = (tokens >= self.first) & (tokens < self.first + self.weight.shape[0])
        rows = functional.embedding((tokens - self.first).masked_fill(~mine, 0), self.weight)
        return summed(rows.masked_fill(~mine[..., None], 0.0), self.group)
