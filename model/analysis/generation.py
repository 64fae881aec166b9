"""Text generation: greedy or sampled, one token at a time, with a key-value cache.

Shapes: B sequences, S tokens each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from model.architectures.context import Context, KeyValueCache
from model.architectures.layers import LanguageModel
from model.configuration import require


@dataclass(frozen=True)
class Sampling:
    """How a token is sampled: divide the logits by `temperature`, keep the `top_k` most likely tokens, keep the fewest
    of these whose probabilities sum to `top_p` (nucleus sampling, Holtzman et al. 2020), and draw one by probability.

    Raises ValueError for values out of range. A temperature outside [0.001, 1000] makes sampling greedy or uniform, and
    logits that fp32 cannot hold.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require(
            0.001 <= self.temperature <= 1000,
            f"temperature is {self.temperature}; it must be in [0.001, 1000]; omit it for greedy decoding",
        )
        require(self.top_k is None or self.top_k >= 1, f"top_k is {self.top_k}; it must be at least 1")
        require(self.top_p is None or 0 < self.top_p <= 1, f"top_p is {self.top_p}; it must be in (0, 1]")
        # The range of PyTorch's generators.
        require(0 <= self.seed < 2**64, f"seed is {self.seed}; it must be in [0, 2⁶⁴)")


@torch.no_grad()
def generate(
    model: LanguageModel,
    tokens: Tensor,
    most: int,
    *,
    sampling: Sampling | None = None,
    end: int | None = None,
    vocabulary: int | None = None,
) -> Tensor:
    """`tokens` (B, S), int64, followed by up to `most` new tokens: (B, S + new).

    Without `sampling`, decoding is greedy; the first of equally likely tokens wins. A sequence ends with the token
    `end`, which also pads it while others continue. `vocabulary` is the number of real tokens where the model's tables
    are padded: the ids beyond are never chosen, although they are trained. Leaves the model in evaluation mode.

    Raises ValueError for an empty prompt, for ids outside the model's vocabulary, and when prompt and new tokens exceed
    the model's positions.
    """
    positions, start = model.config.positions, tokens.shape[1]
    require(start >= 1, "the prompt has no tokens; begin it with the end-of-document token")
    require(
        bool(((tokens >= 0) & (tokens < model.config.vocabulary)).all()),
        f"token ids from {tokens.min()} to {tokens.max()}: the model has ids from 0 to {model.config.vocabulary - 1}; "
        "use its tokenizer",
    )
    require(
        most >= 1 and start + most <= positions,
        f"{start} tokens and {most} new ones: the model has {positions} positions; shorten the text, or ask for at "
        f"least 1 and at most {max(positions - start, 0)} new tokens",
    )
    model.eval()
    cache = KeyValueCache(start + most)
    generator = torch.Generator().manual_seed(sampling.seed) if sampling else None
    over = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    read = 0
    for _ in range(most):
        logits = _last_logits(model, tokens[:, read:], read, cache)
        read = tokens.shape[1]
        if vocabulary is not None:
            logits[:, vocabulary:] = -math.inf
        chosen = _drawn(logits, sampling, generator) if sampling and generator else logits.argmax(-1)
        if end is not None:
            chosen = torch.where(over, end, chosen)
            over |= chosen == end
        tokens = torch.cat((tokens, chosen[:, None]), dim=1)
        if over.all():
            break
    return tokens


def allowed(logits: Tensor, sampling: Sampling) -> Tensor:
    """`logits` (B, vocabulary) divided by the temperature, with -∞ for tokens that `top_k` and `top_p` exclude."""
    logits = logits / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    if sampling.top_p is not None:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probabilities = ordered.softmax(-1)
        # Keep a token if the tokens before it sum to less than top_p; this always keeps the first.
        before = probabilities.cumsum(-1) - probabilities
        logits = logits.scatter(-1, order, ordered.masked_fill(before >= sampling.top_p, -math.inf))
    return logits


def _last_logits(model: LanguageModel, tokens: Tensor, read: int, cache: KeyValueCache) -> Tensor:
    """The logits (B, vocabulary) after the last of `tokens`, which follow the `read` tokens in the cache."""
    positions = torch.arange(read, read + tokens.shape[1], device=tokens.device)
    context = Context(positions=positions, cache=cache)
    x = model.embedding(tokens, context)
    for layer in model.layers:
        x = layer(x, context)
    logits: Tensor = model.head(x[:, -1:])[:, 0].float()
    return logits


def _drawn(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    probabilities = allowed(logits, sampling).softmax(-1)
    # Sample on the CPU: its random stream for a seed is the same on every machine.
    return torch.multinomial(probabilities.cpu(), 1, generator=generator)[:, 0].to(logits.device)
