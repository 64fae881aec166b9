"""A readable peer: GPT-NeoX's model in one file, in the spirit of nanoGPT, that shares no code with `model`.

Its parameters have our logical names, so that the benchmark's weights can be loaded as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class PlainNeoX(nn.Module):
    """Token ids (B, S), int64, to logits (B, S, vocabulary). `config` is a `PythiaConfig`."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.width
        self.embedding = nn.ModuleDict({"tokens": nn.Embedding(config.vocabulary, width)})
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.head = nn.ModuleDict(
            {
                "norm": nn.LayerNorm(width, eps=config.norm_epsilon),
                "output": nn.Linear(width, config.vocabulary, bias=False),
            }
        )
        turned = int(width // config.heads * config.rotary_fraction)
        frequencies = config.rotary_base ** (-torch.arange(0, turned, 2) / turned)
        angles = torch.arange(config.positions)[:, None] * frequencies
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding["tokens"](tokens)
        length = tokens.shape[1]
        cosine, sine = self.cosine[:length].to(x.dtype), self.sine[:length].to(x.dtype)
        for layer in self.layers:
            x = layer(x, cosine, sine)
        return self.head["output"](self.head["norm"](x))


class Block(nn.Module):
    """x + attention(norm₁ x) + feed-forward(norm₂ x)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.approximate = "tanh" if config.gelu == "tanh" else "none"
        self.attention_norm = nn.LayerNorm(width, eps=config.norm_epsilon)
        self.attention = nn.ModuleDict(
            {"query_key_value": nn.Linear(width, 3 * width), "output": nn.Linear(width, width)}
        )
        self.feed_forward_norm = nn.LayerNorm(width, eps=config.norm_epsilon)
        self.feed_forward = nn.ModuleDict({"up": nn.Linear(width, 4 * width), "down": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        return x + self.attend(self.attention_norm(x), cosine, sine) + self.feed(self.feed_forward_norm(x))

    def attend(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        batch, length, width = x.shape
        fused = self.attention["query_key_value"](x).view(batch, length, self.heads, 3, width // self.heads)
        query, key, value = fused.transpose(1, 2).unbind(3)  # (B, heads, S, dimensions of a head) each
        query, key = turn(query, cosine, sine), turn(key, cosine, sine)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.attention["output"](mixed.transpose(1, 2).reshape(batch, length, width))

    def feed(self, x: Tensor) -> Tensor:
        return self.feed_forward["down"](functional.gelu(self.feed_forward["up"](x), approximate=self.approximate))


def turn(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate pairs (j, j + half) of the first dimensions of each head by the angles of their positions."""
    half = cosine.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine, rest), dim=-1)
