"""LLaMA: RMSNorm before each part, SwiGLU, rotary over the whole head, no biases, untied embeddings.

Touvron et al. 2023. Parameter names are those of `transformers`, whose half rotation is used too (see `Rotary`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from model.initialisation import Fill, normal, ones
from model.layers import RMSNorm, Rotary, causal_attention, require

# The paper does not state its initialisation. These are ours: GPT-2's 0.02, divided by √(2L) on the way back into
# the residual stream.
SIGMA = 0.02


@dataclass(frozen=True)
class LlamaConfig:
    """A shape. `feed_forward_multiple` is what the feed-forward width is rounded up to."""

    vocabulary: int
    positions: int
    layers: int
    width: int
    heads: int
    feed_forward_multiple: int = 256
    rotary_base: float = 10_000.0
    norm_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("vocabulary", "positions", "layers", "width", "heads", "feed_forward_multiple"):
            require(getattr(self, name) >= 1, f"llama: {name} is {getattr(self, name)}; it must be at least 1")
        require(
            self.width % (2 * self.heads) == 0,
            f"llama: width {self.width} over {self.heads} heads does not give heads of an even number of dimensions",
        )

    @property
    def feed_forward(self) -> int:
        """multiple · ⌈int(2 · 4d / 3) / multiple⌉ (`meta-llama/llama`, `model.py`): 11,008 at 7B."""
        return -(-(8 * self.width // 3) // self.feed_forward_multiple) * self.feed_forward_multiple

    @property
    def parameters(self) -> int:
        """L(4d² + 3df + 2d) + d + 2Vd for a feed-forward width f."""
        d = self.width
        return self.layers * (4 * d * d + 3 * d * self.feed_forward + 2 * d) + d + 2 * self.vocabulary * d


class Attention(nn.Module):
    """Multi-head causal self-attention with separate projections."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj = nn.Linear(config.width, config.width, bias=False)
        self.k_proj = nn.Linear(config.width, config.width, bias=False)
        self.v_proj = nn.Linear(config.width, config.width, bias=False)
        self.o_proj = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        batch, length, width = x.shape
        query, key, value = (
            projection(x).view(batch, length, self.heads, -1).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = causal_attention(rotary(query), rotary(key), value)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, width))


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate x) · up x)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.feed_forward, bias=False)
        self.up_proj = nn.Linear(config.width, config.feed_forward, bias=False)
        self.down_proj = nn.Linear(config.feed_forward, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """x + attention(norm x), then the same with the feed-forward."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, config.norm_epsilon)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.width, config.norm_epsilon)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotary)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """Token ids (B, S), int64, to logits (B, S, vocabulary)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_epsilon)
        self.lm_head = nn.Linear(config.width, config.vocabulary, bias=False)
        self.rotary = Rotary(config.width // config.heads, config.positions, config.rotary_base)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, self.rotary)
        logits: Tensor = self.lm_head(self.norm(x))
        return logits


def initial(name: str, config: LlamaConfig) -> Fill:
    """How a parameter starts (ours, see SIGMA): norms 1, weights normal."""
    if "norm" in name:
        return ones
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        return normal(SIGMA / math.sqrt(2 * config.layers))
    return normal(SIGMA)
