"""The layers that the architectures share. Shapes: B sequences, S positions, H heads, D dimensions of a head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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

    Dimension j is paired with j + dimensions / 2 and turned by position · base^(-2j / dimensions). The angles are
    computed in fp32 and cast afterwards. LLaMA's release pairs neighbours instead; the two differ by a fixed
    permutation of the rows of the query and key weights and give the same attention.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(self, dimensions: int, positions: int, base: float) -> None:
        super().__init__()
        self.dimensions, self.positions, self.base = dimensions, positions, base
        cosine, sine = self._tables()
        # Not part of a checkpoint: a function of the configuration alone.
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Turn queries or keys of shape (B, H, S, D); positions are 0 … S - 1."""
        length = x.shape[-2]
        if length > self.positions:
            raise ValueError(f"a sequence of {length} positions is longer than the model's {self.positions}")
        cosine, sine = self.cosine[:length].to(x.dtype), self.sine[:length].to(x.dtype)
        turned, rest = x[..., : self.dimensions], x[..., self.dimensions :]
        first, second = turned.chunk(2, dim=-1)
        turned = turned * cosine + torch.cat((-second, first), dim=-1) * sine
        return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned

    def _tables(self) -> tuple[Tensor, Tensor]:
        exponents = torch.arange(0, self.dimensions, 2, dtype=torch.float32) / self.dimensions
        angles = torch.outer(torch.arange(self.positions, dtype=torch.float32), self.base**-exponents)
        both = torch.cat((angles, angles), dim=-1)
        return both.cos(), both.sin()


def causal_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q kᵀ / √D) v where each position sees itself and those before it; all shapes (B, H, S, D)."""
    return functional.scaled_dot_product_attention(query, key, value, is_causal=True)


def next_token_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Mean cross-entropy in nats, a scalar in fp32.

    `logits` (B, S, vocabulary) are those of tokens[:, :-1]; `tokens` (B, S + 1) holds one more than the model read.
    The end-of-document token is a label like any other (GPT-NeoX, `eod_mask_loss` false).
    """
    return functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())


def require(condition: bool, message: str) -> None:
    """Raise ValueError with `message` unless the condition holds: for the checks of frozen configurations."""
    if not condition:
        raise ValueError(message)
