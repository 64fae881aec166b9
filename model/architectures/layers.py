"""The layers that the architectures share. Shapes: B sequences, S positions, H heads, D dimensions of a head."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.architectures.context import Context

# How tensor parallelism shards a module: column-parallel (rows of its weight), row-parallel (columns of its weight),
# vocabulary-parallel (rows of the token embedding, logits), or replicated on every rank.
ParallelStyle = Literal["column", "row", "vocabulary", "replicated"]


class LanguageModel(nn.Module):
    """An embedding, blocks in order, and a head: token ids (B, S), int64, to logits (B, S, vocabulary).

    `embedding(tokens, context)` gives x (B, S, width), `block(x, context)` the next x, and `head(x)` the logits.
    """

    def __init__(self, config: Any, embedding: nn.Module, blocks: Iterable[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.embedding = embedding
        self.layers = nn.ModuleList(blocks)
        self.head = head

    def forward(self, tokens: Tensor, context: Context | None = None) -> Tensor:
        context = context or Context()
        x = self.embedding(tokens, context)
        for layer in self.layers:
            x = layer(x, context)
        logits: Tensor = self.head(x)
        return logits


class TokenEmbedding(nn.Module):
    """Token embeddings without position embeddings."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)

    def forward(self, tokens: Tensor, context: Context) -> Tensor:
        x: Tensor = self.tokens(tokens)
        return x


class Head(nn.Module):
    """The final norm and the output layer, without bias."""

    def __init__(self, norm: nn.Module, width: int, vocabulary: int) -> None:
        super().__init__()
        self.norm = norm
        self.output = nn.Linear(width, vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(self.norm(x))
        return logits


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + epsilon) · weight over the last dimension (Zhang and Sennrich 2019, eq. 4).

    As in LLaMA's code: computed in fp32, cast back, and only then multiplied by the weight.
    """

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return (wide * scale).to(x.dtype) * self.weight


class Rotary(nn.Module):
    """Rotary position embedding (Su et al. 2021) on the first `dimensions` of each head, by half rotation.

    Dimension j is paired with j + dimensions / 2 and rotated by position · base^(-2j / dimensions). The tables stay in
    fp32 when the model is cast, and the rotation is computed in fp32 and cast back, as in LLaMA's release (`model.py`,
    `apply_rotary_emb`): in bf16, neighbouring late positions would get the same angles in slow dimensions. LLaMA's
    release pairs adjacent dimensions instead; the two differ by a fixed permutation of the rows of the query and key
    weights and give the same attention. All blocks of a model share one instance.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(self, dimensions: int, positions: int, base: float) -> None:
        super().__init__()
        self.dimensions, self.positions, self.base = dimensions, positions, base
        # Not stored in checkpoints, as the configuration determines them.
        self.register_buffer("cosine", torch.empty(0), persistent=False)
        self.register_buffer("sine", torch.empty(0), persistent=False)
        self._fill()

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """Rotate queries or keys (B, H, S, D) at `positions` (B, S) or (S), by default 0 … S - 1."""
        length = x.shape[-2]
        if positions is None:
            if length > self.positions:
                raise ValueError(
                    f"a sequence of {length} positions is longer than the model's {self.positions}; shorten it"
                )
            cosine, sine = self.cosine[:length], self.sine[:length]
        else:
            cosine, sine = self.cosine[positions].unsqueeze(-3), self.sine[positions].unsqueeze(-3)
        turned, rest = x[..., : self.dimensions].float(), x[..., self.dimensions :]
        first, second = turned.chunk(2, dim=-1)
        turned = (turned * cosine + torch.cat((-second, first), dim=-1) * sine).to(x.dtype)
        return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Rotary:
        # Refill the tables: `to_empty` leaves them uninitialised, and a cast rounds them.
        super()._apply(fn, recurse)
        self._fill()
        return self

    def _fill(self) -> None:
        # Compute real tables even on the device "meta": if weights are then assigned, nothing else would fill them.
        device = "cpu" if self.cosine.is_meta else self.cosine.device
        exponents = torch.arange(0, self.dimensions, 2, dtype=torch.float32, device="cpu") / self.dimensions
        places = torch.arange(self.positions, dtype=torch.float32, device="cpu")
        angles = torch.outer(places, self.base**-exponents).repeat(1, 2)
        self.cosine, self.sine = angles.cos().to(device), angles.sin().to(device)


class CausalAttention(nn.Module):
    """softmax(q kᵀ · scale) v with the mask of the context; without weights, for any number of heads.

    `scale` defaults to 1 / √D. Dropout applies to the softmax.
    """

    def __init__(self, rotary: Rotary | None = None, dropout: float = 0.0, scale: float | None = None) -> None:
        super().__init__()
        self.rotary = rotary
        self.scale = scale
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """Queries, keys and values (B, H, S, D) to (B, S, H · D)."""
        if self.rotary is not None:
            query, key = self.rotary(query, context.positions), self.rotary(key, context.positions)
        if context.cache is not None:
            key, value = context.cache.extend(self, key, value)
        mask, new, seen = context.mask, query.shape[-2], key.shape[-2]
        if 1 < new < seen:
            mask = torch.ones(new, seen, dtype=torch.bool, device=query.device).tril(seen - new)
        mixed = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self.dropout.p if self.training else 0.0,
            # A single new token attends to all earlier tokens and needs no mask.
            is_causal=mask is None and new == seen,
            scale=self.scale,
        )
        return mixed.transpose(1, 2).flatten(2)


def heads(x: Tensor, dimensions: int) -> Tensor:
    """(B, S, H · D) to (B, H, S, D) with heads of D = `dimensions`."""
    return x.unflatten(-1, (-1, dimensions)).transpose(1, 2)
