"""GPT-NeoX / Pythia: parallel attention and feed-forward with a LayerNorm each, rotary on part of the head.

Black et al. 2022 (GPT-NeoX-20B), Biderman et al. 2023 (Pythia). The fused query-key-value weight is laid out per
head: q, k, v, as in GPT-NeoX and in `transformers`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from model.architectures.context import Context
from model.architectures.initialisation import Fill, normal, ones, zeros
from model.architectures.layers import CausalAttention, Head, LanguageModel, ParallelStyle, Rotary, TokenEmbedding
from model.configuration import about, require

# GPT-NeoX's default `init_method_std`.
SIGMA = 0.02


@dataclass(frozen=True)
class PythiaConfig:
    """The shape. `vocabulary` is the padded size of both embeddings; `positions` the longest sequence.

    `gelu` is the form of the activation: GPT-NeoX's `bias-gelu-fusion`, with which the published models were trained,
    computes `tanh`; `erf` is the default `hidden_act` of `transformers`. `initialisation` is `small` (`small_init` and
    `wang_init`) or `normal` (GPT-NeoX's defaults `normal` and `scaled_normal`, which apply to Pythia 6.9B and 12B,
    because their configurations name none).
    """

    vocabulary: int = field(metadata=about("Rows of the token embedding, padding included.", ge=1))
    positions: int = field(metadata=about("Longest sequence, in tokens.", ge=1))
    layers: int = field(metadata=about("Transformer blocks.", ge=1))
    width: int = field(metadata=about("Size of the residual stream; a multiple of heads.", ge=1))
    heads: int = field(metadata=about("Attention heads per block.", ge=1))
    rotary_fraction: float = field(
        default=0.25, metadata=about("pythia: share of a head's dimensions that are rotated.", gt=0, le=1)
    )
    rotary_base: float = field(default=10_000.0, metadata=about("Base of the rotary frequencies."))
    norm_epsilon: float = field(default=1e-5, metadata=about("Added to the variance in layer norms."))
    gelu: Literal["tanh", "erf"] = field(
        default="tanh", metadata=about("pythia: form of GELU; GPT-NeoX's fused kernel computes tanh.")
    )
    initialisation: Literal["small", "normal"] = field(
        default="small", metadata=about("pythia: small_init and wang_init, or GPT-NeoX's defaults (normal).")
    )

    def __post_init__(self) -> None:
        for name in ("vocabulary", "positions", "layers", "width", "heads"):
            require(getattr(self, name) >= 1, f"pythia: {name} is {getattr(self, name)}; it must be at least 1")
        require(self.width % self.heads == 0, f"pythia: width {self.width} is not a multiple of heads {self.heads}")
        require(
            0 < self.rotary_fraction <= 1, f"pythia: rotary_fraction is {self.rotary_fraction}; it must be in (0, 1]"
        )
        require(
            self.rotary_dimensions >= 2 and self.rotary_dimensions % 2 == 0,
            f"pythia: rotary_fraction {self.rotary_fraction} rotates {self.rotary_dimensions} of "
            f"{self.width // self.heads} dimensions; it must rotate an even number of at least 2",
        )

    @property
    def rotary_dimensions(self) -> int:
        """Rotated dimensions of a head: int(head · fraction), as GPT-NeoX rounds."""
        return int(self.width // self.heads * self.rotary_fraction)

    @property
    def parameters(self) -> int:
        """L(12d² + 13d) + 2d + 2Vd."""
        d = self.width
        return self.layers * (12 * d * d + 13 * d) + 2 * d + 2 * self.vocabulary * d


class Attention(nn.Module):
    """Multi-head causal self-attention with one fused projection and biases."""

    def __init__(self, config: PythiaConfig, rotary: Rotary) -> None:
        super().__init__()
        self.head_dimensions = config.width // config.heads
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.core = CausalAttention(rotary)
        self.output = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        # (B, S, heads, 3, dimensions): a tensor-parallel rank has fewer heads.
        fused = self.query_key_value(x).unflatten(-1, (-1, 3, self.head_dimensions))
        query, key, value = fused.permute(3, 0, 2, 1, 4)
        mixed: Tensor = self.output(self.core(query, key, value, context))
        return mixed


class FeedForward(nn.Module):
    """Two layers with GELU; the hidden width is four times the width."""

    def __init__(self, config: PythiaConfig) -> None:
        super().__init__()
        self.approximate = "tanh" if config.gelu == "tanh" else "none"
        self.up = nn.Linear(config.width, 4 * config.width)
        self.down = nn.Linear(4 * config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(functional.gelu(self.up(x), approximate=self.approximate))
        return x


class Block(nn.Module):
    """x + attention(norm₁ x) + feed-forward(norm₂ x), the "GPT-J residual" with two untied norms."""

    def __init__(self, config: PythiaConfig, rotary: Rotary) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.attention = Attention(config, rotary)
        self.feed_forward_norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return x + self.attention(self.attention_norm(x), context) + self.feed_forward(self.feed_forward_norm(x))


class Pythia(LanguageModel):
    """Token ids (B, S), int64, to logits (B, S, vocabulary)."""

    def __init__(self, config: PythiaConfig) -> None:
        rotary = Rotary(config.rotary_dimensions, config.positions, config.rotary_base)
        super().__init__(
            config,
            TokenEmbedding(config.vocabulary, config.width),
            (Block(config, rotary) for _ in range(config.layers)),
            Head(nn.LayerNorm(config.width, eps=config.norm_epsilon), config.width, config.vocabulary),
        )


def initial(name: str, config: PythiaConfig) -> Fill:
    """The initialisation of a parameter (GPT-NeoX, `init_functions.py`): biases 0, norms 1, weights N(0, σ²).

    `small`: `small_init` σ = √(2 / 5d) (Nguyen and Salazar 2019), and `wang_init` σ = 2 / (L√d) for the two projections
    into the residual stream. `normal`: σ = 0.02, and 0.02 / √(2L) for these two.
    """
    if name.endswith(".bias"):
        return zeros
    if "norm." in name:
        return ones
    small = config.initialisation == "small"
    if name.endswith(("attention.output.weight", "feed_forward.down.weight")):
        return normal(2 / (config.layers * math.sqrt(config.width)) if small else SIGMA / math.sqrt(2 * config.layers))
    return normal(math.sqrt(2 / (5 * config.width)) if small else SIGMA)


def split(name: str) -> ParallelStyle:
    """How tensor parallelism shards the module of that logical name.

    The rows of the fused projection are ordered by head, so contiguous shards hold whole heads.
    """
    if name in ("embedding.tokens", "head.output"):
        return "vocabulary"
    if name.endswith(("attention.query_key_value", "feed_forward.up")):
        return "column"
    return "row" if name.endswith(("attention.output", "feed_forward.down")) else "replicated"
