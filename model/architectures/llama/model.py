"""LLaMA: RMSNorm before each part, SwiGLU, rotary over the whole head, no biases, untied embeddings.

Touvron et al. 2023. Rotary pairs the halves of a head, as in `transformers` (see `Rotary`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional

from model.architectures.context import Context
from model.architectures.initialisation import Fill, normal, ones
from model.architectures.layers import (
    CausalAttention,
    Head,
    LanguageModel,
    ParallelStyle,
    RMSNorm,
    Rotary,
    TokenEmbedding,
    heads,
)
from model.configuration import about, require

# The paper does not state its initialisation. This project's choice: GPT-2's 0.02, divided by √(2L) for the two
# projections into the residual stream.
SIGMA = 0.02


@dataclass(frozen=True)
class LlamaConfig:
    """The shape. The feed-forward width is rounded up to a multiple of `feed_forward_multiple`."""

    vocabulary: int = field(metadata=about("Rows of the token embedding, padding included.", ge=1))
    positions: int = field(metadata=about("Longest sequence, in tokens.", ge=1))
    layers: int = field(metadata=about("Transformer blocks.", ge=1))
    width: int = field(metadata=about("Size of the residual stream; a multiple of heads.", ge=1))
    heads: int = field(metadata=about("Attention heads per block.", ge=1))
    feed_forward_multiple: int = field(
        default=256, metadata=about("llama: the feed-forward width is rounded up to a multiple of this.", ge=1)
    )
    rotary_base: float = field(default=10_000.0, metadata=about("Base of the rotary frequencies."))
    norm_epsilon: float = field(default=1e-6, metadata=about("Added to the mean square in RMS norms."))

    def __post_init__(self) -> None:
        for name in ("vocabulary", "positions", "layers", "width", "heads", "feed_forward_multiple"):
            require(getattr(self, name) >= 1, f"llama: {name} is {getattr(self, name)}; it must be at least 1")
        require(
            self.width % (2 * self.heads) == 0,
            f"llama: width {self.width} must give each of {self.heads} heads an even number of dimensions; change one",
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

    def __init__(self, config: LlamaConfig, rotary: Rotary) -> None:
        super().__init__()
        self.head_dimensions = config.width // config.heads
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, config.width, bias=False)
        self.value = nn.Linear(config.width, config.width, bias=False)
        self.core = CausalAttention(rotary)
        self.output = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        query, key, value = (heads(project(x), self.head_dimensions) for project in (self.query, self.key, self.value))
        mixed: Tensor = self.output(self.core(query, key, value, context))
        return mixed


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate x) · up x)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.feed_forward, bias=False)
        self.up = nn.Linear(config.width, config.feed_forward, bias=False)
        self.down = nn.Linear(config.feed_forward, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(functional.silu(self.gate(x)) * self.up(x))
        return x


class Block(nn.Module):
    """x + attention(norm x), then the same with the feed-forward."""

    def __init__(self, config: LlamaConfig, rotary: Rotary) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_epsilon)
        self.attention = Attention(config, rotary)
        self.feed_forward_norm = RMSNorm(config.width, config.norm_epsilon)
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = x + self.attention(self.attention_norm(x), context)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Llama(LanguageModel):
    """Token ids (B, S), int64, to logits (B, S, vocabulary)."""

    def __init__(self, config: LlamaConfig) -> None:
        rotary = Rotary(config.width // config.heads, config.positions, config.rotary_base)
        super().__init__(
            config,
            TokenEmbedding(config.vocabulary, config.width),
            (Block(config, rotary) for _ in range(config.layers)),
            Head(RMSNorm(config.width, config.norm_epsilon), config.width, config.vocabulary),
        )


def initial(name: str, config: LlamaConfig) -> Fill:
    """The initialisation of a parameter (this project's choice, see SIGMA): norms 1, weights normal."""
    if "norm." in name:
        return ones
    if name.endswith(("attention.output.weight", "feed_forward.down.weight")):
        return normal(SIGMA / math.sqrt(2 * config.layers))
    return normal(SIGMA)


def split(name: str) -> ParallelStyle:
    """How tensor parallelism shards the module of that logical name."""
    if name in ("embedding.tokens", "head.output"):
        return "vocabulary"
    if name.endswith(("attention.query", "attention.key", "attention.value", "feed_forward.gate", "feed_forward.up")):
        return "column"
    return "row" if name.endswith(("attention.output", "feed_forward.down")) else "replicated"
