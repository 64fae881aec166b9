"""OPT: learned positions, ReLU, tied embeddings, biases, pre-LayerNorm; and the variant OPT-350m.

Zhang et al. 2022. The released OPT-350m has post-LayerNorm, no final norm, and token embeddings of half its width, with
projections after the embedding and before the output layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.architectures.context import Context
from model.architectures.initialisation import Fill, but_row, normal, ones, zeros
from model.architectures.layers import CausalAttention, LanguageModel, ParallelStyle, heads
from model.configuration import about, require

PADDING = 1  # metaseq's padding token, which packed sequences never contain
# metaseq's positions count from PADDING + 1 (`learned_positional_embedding.py`): rows 0 and 1 are never read.
OFFSET = PADDING + 1
NORM_EPSILON = 1e-5  # PyTorch's default, which metaseq and `transformers` keep
# `full-megatron-init` with `megatron-init-sigma` 0.006 (metaseq, `launcher/opt_baselines.py`; paper, section 2.2).
SIGMA = 0.006


@dataclass(frozen=True)
class OptConfig:
    """The shape. `vocabulary` is the padded size of the tied embedding; `positions` the longest sequence.

    `norm_first` is false for OPT-350m; `embedding_width` is the width of the tied embedding where it differs from the
    model's. `dropout` applies to the outputs of attention and feed-forward, `attention_dropout` to the softmax; the
    embedding has no dropout (metaseq, `no-emb-dropout`). The published models were trained with 0.1.
    """

    vocabulary: int = field(metadata=about("Rows of the token embedding, padding included.", ge=1))
    positions: int = field(metadata=about("Longest sequence, in tokens.", ge=1))
    layers: int = field(metadata=about("Transformer blocks.", ge=1))
    width: int = field(metadata=about("Size of the residual stream; a multiple of heads.", ge=1))
    heads: int = field(metadata=about("Attention heads per block.", ge=1))
    norm_first: bool = field(
        default=True, metadata=about("opt: layer norm before attention and feed-forward; after them in OPT-350m.")
    )
    embedding_width: int | None = field(
        default=None, metadata=about("opt: width of the tied embedding where it is not the model's.", ge=1)
    )
    dropout: float = field(
        default=0.0, metadata=about("opt: dropout on what attention and feed-forward add.", ge=0, lt=1)
    )
    attention_dropout: float = field(
        default=0.0, metadata=about("opt: dropout on attention probabilities.", ge=0, lt=1)
    )

    def __post_init__(self) -> None:
        for name in ("vocabulary", "positions", "layers", "width", "heads"):
            require(getattr(self, name) >= 1, f"opt: {name} is {getattr(self, name)}; it must be at least 1")
        require(self.vocabulary > PADDING, f"opt: a vocabulary of {self.vocabulary} has no padding, token {PADDING}")
        require(self.width % self.heads == 0, f"opt: width {self.width} is not a multiple of heads {self.heads}")
        require(
            self.embedding_width is None or 1 <= self.embedding_width != self.width,
            f"opt: embedding_width is {self.embedding_width}; leave it out when it equals the width {self.width}",
        )
        for name in ("dropout", "attention_dropout"):
            require(0 <= getattr(self, name) < 1, f"opt: {name} is {getattr(self, name)}; it must be in [0, 1)")

    @property
    def parameters(self) -> int:
        """L(12d² + 13d) + Ve + (P + 2)d, plus 2d for a final norm and 2de for projections from and to a width e."""
        d, e = self.width, self.embedding_width or self.width
        norm = 2 * d if self.norm_first else 0
        projections = 2 * d * e if self.embedding_width else 0
        embeddings = self.vocabulary * e + (self.positions + OFFSET) * d
        return self.layers * (12 * d * d + 13 * d) + embeddings + norm + projections


class Embedding(nn.Module):
    """Token embeddings, projected to the width if they are narrower, plus learned position embeddings."""

    def __init__(self, config: OptConfig) -> None:
        super().__init__()
        self.longest = config.positions
        self.tokens = nn.Embedding(config.vocabulary, config.embedding_width or config.width)
        self.positions = nn.Embedding(config.positions + OFFSET, config.width)
        self.project = nn.Linear(config.embedding_width, config.width, bias=False) if config.embedding_width else None

    def forward(self, tokens: Tensor, context: Context) -> Tensor:
        x = self.tokens(tokens)
        if self.project is not None:
            x = self.project(x)
        positions = context.positions
        if positions is None:
            length = tokens.shape[-1]
            if length > self.longest:
                raise ValueError(
                    f"a sequence of {length} positions is longer than the model's {self.longest}; shorten it"
                )
            positions = torch.arange(length, device=tokens.device)
        x = x + self.positions(positions + OFFSET)
        return x


class Attention(nn.Module):
    """Multi-head causal self-attention with separate projections and biases.

    The query is scaled before the matmul, as in metaseq.
    """

    def __init__(self, config: OptConfig) -> None:
        super().__init__()
        self.head_dimensions = config.width // config.heads
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.core = CausalAttention(dropout=config.attention_dropout, scale=1.0)
        self.output = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        projected = (self.query(x) * self.head_dimensions**-0.5, self.key(x), self.value(x))
        query, key, value = (heads(x, self.head_dimensions) for x in projected)
        mixed: Tensor = self.output(self.core(query, key, value, context))
        return mixed


class FeedForward(nn.Module):
    """Two layers with ReLU; the hidden width is four times the width."""

    def __init__(self, config: OptConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, 4 * config.width)
        self.down = nn.Linear(4 * config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(functional.relu(self.up(x)))
        return x


class Block(nn.Module):
    """x + attention(norm x) if `norm_first`, else norm(x + attention(x)); then the same with the feed-forward."""

    def __init__(self, config: OptConfig) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.attention_norm = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.attention = Attention(config)
        self.attention_dropout = nn.Dropout(config.dropout)
        self.feed_forward_norm = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.feed_forward = FeedForward(config)
        self.feed_forward_dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if self.norm_first:
            x = x + self.attention_dropout(self.attention(self.attention_norm(x), context))
            return x + self.feed_forward_dropout(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self.attention_dropout(self.attention(x, context)))
        x = self.feed_forward_norm(x + self.feed_forward_dropout(self.feed_forward(x)))
        return x


class Head(nn.Module):
    """The final norm, a projection to the width of the embedding, and the output layer tied to the embedding."""

    def __init__(self, config: OptConfig, tokens: nn.Embedding) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPSILON) if config.norm_first else None
        self.project = nn.Linear(config.width, config.embedding_width, bias=False) if config.embedding_width else None
        self.output = nn.Linear(tokens.embedding_dim, tokens.num_embeddings, bias=False)
        self.output.weight = tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        if self.norm is not None:
            x = self.norm(x)
        if self.project is not None:
            x = self.project(x)
        logits: Tensor = self.output(x)
        return logits


class Opt(LanguageModel):
    """Token ids (B, S), int64, to logits (B, S, vocabulary)."""

    def __init__(self, config: OptConfig) -> None:
        embedding = Embedding(config)
        blocks = (Block(config) for _ in range(config.layers))
        super().__init__(config, embedding, blocks, Head(config, embedding.tokens))


def initial(name: str, config: OptConfig) -> Fill:
    """The initialisation of a parameter: biases 0, norms 1, weights and both embeddings N(0, σ²).

    The two projections into the residual stream have σ / √(2L) (paper, section 2.2: as in Megatron-LM).

    Row PADDING of both embeddings starts at 0 (metaseq, `model_parallel/models/transformer_lm.py` and
    `positional_embedding.py`). It then trains like any other row: the token never occurs as an input, and training
    makes it unlikely as an output.
    """
    if name.endswith(".bias"):
        return zeros
    if "norm." in name:
        return ones
    if name.endswith(("attention.output.weight", "feed_forward.down.weight")):
        return normal(SIGMA / math.sqrt(2 * config.layers))
    table = name in ("embedding.tokens.weight", "embedding.positions.weight")
    return but_row(normal(SIGMA), PADDING) if table else normal(SIGMA)


def split(name: str) -> ParallelStyle:
    """How tensor parallelism shards the module of that logical name; tied embedding and output alike."""
    if name in ("embedding.tokens", "head.output"):
        return "vocabulary"
    if name.endswith(("attention.query", "attention.key", "attention.value", "feed_forward.up")):
        return "column"
    return "row" if name.endswith(("attention.output", "feed_forward.down")) else "replicated"
