"""GPT-NeoX / Pythia: parallel attention and feed-forward with a LayerNorm each, rotary on a part of the head.

Black et al. 2022 (GPT-NeoX-20B), Biderman et al. 2023 (Pythia). Parameter names and the layout of the fused
query-key-value weight (per head: q, k, v) are those of GPT-NeoX and of `transformers`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from model.initialisation import Fill, normal, ones, zeros
from model.layers import Rotary, causal_attention, require


@dataclass(frozen=True)
class PythiaConfig:
    """A shape. `vocabulary` is the padded size of both embeddings; `positions` the longest sequence."""

    vocabulary: int
    positions: int
    layers: int
    width: int
    heads: int
    rotary_fraction: float = 0.25
    rotary_base: float = 10_000.0
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("vocabulary", "positions", "layers", "width", "heads"):
            require(getattr(self, name) >= 1, f"pythia: {name} is {getattr(self, name)}; it must be at least 1")
        require(self.width % self.heads == 0, f"pythia: width {self.width} is not a multiple of heads {self.heads}")
        require(
            0 < self.rotary_fraction <= 1, f"pythia: rotary_fraction is {self.rotary_fraction}; it must be in (0, 1]"
        )
        require(
            self.rotary_dimensions >= 2 and self.rotary_dimensions % 2 == 0,
            f"pythia: rotary_fraction {self.rotary_fraction} turns {self.rotary_dimensions} of "
            f"{self.width // self.heads} dimensions; it must turn an even number",
        )

    @property
    def rotary_dimensions(self) -> int:
        """Dimensions of a head that are turned: int(head · fraction), as GPT-NeoX rounds."""
        return int(self.width // self.heads * self.rotary_fraction)

    @property
    def parameters(self) -> int:
        """L(12d² + 13d) + 2d + 2Vd."""
        d = self.width
        return self.layers * (12 * d * d + 13 * d) + 2 * d + 2 * self.vocabulary * d


class Attention(nn.Module):
    """Multi-head causal self-attention with one fused projection and biases."""

    def __init__(self, config: PythiaConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.dense = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        batch, length, width = x.shape
        fused = self.query_key_value(x).view(batch, length, self.heads, 3, width // self.heads)
        query, key, value = fused.permute(3, 0, 2, 1, 4)
        mixed = causal_attention(rotary(query), rotary(key), value)
        return self.dense(mixed.transpose(1, 2).reshape(batch, length, width))


class FeedForward(nn.Module):
    """Two layers of four times the width with GELU in its tanh form, which `bias-gelu-fusion` trained with."""

    def __init__(self, config: PythiaConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.width, 4 * config.width)
        self.dense_4h_to_h = nn.Linear(4 * config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense_4h_to_h(functional.gelu(self.dense_h_to_4h(x), approximate="tanh"))


class Block(nn.Module):
    """x + attention(norm₁ x) + feed-forward(norm₂ x), the "GPT-J residual" with two norms that are not tied."""

    def __init__(self, config: PythiaConfig) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.post_attention_layernorm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.attention = Attention(config)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        return x + self.attention(self.input_layernorm(x), rotary) + self.mlp(self.post_attention_layernorm(x))


class Pythia(nn.Module):
    """Token ids (B, S), int64, to logits (B, S, vocabulary)."""

    def __init__(self, config: PythiaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_in = nn.Embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_layer_norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.embed_out = nn.Linear(config.width, config.vocabulary, bias=False)
        self.rotary = Rotary(config.rotary_dimensions, config.positions, config.rotary_base)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed_in(tokens)
        for layer in self.layers:
            x = layer(x, self.rotary)
        logits: Tensor = self.embed_out(self.final_layer_norm(x))
        return logits


def initial(name: str, config: PythiaConfig) -> Fill:
    """How a parameter starts: `small_init` √(2 / 5d) for weights (Nguyen and Salazar 2019), `wang_init` 2 / (L√d)
    for the two projections back into the residual stream, biases 0, norms 1 (GPT-NeoX, `init_functions.py`).
    """
    if name.endswith(".bias"):
        return zeros
    if "norm" in name:
        return ones
    if name.endswith(("attention.dense.weight", "mlp.dense_4h_to_h.weight")):
        return normal(2 / (config.layers * math.sqrt(config.width)))
    return normal(math.sqrt(2 / (5 * config.width)))
