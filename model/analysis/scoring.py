"""Scoring with a checkpoint: log-likelihoods of continuations, and perplexity of a token file. One process, fp32."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.tokens import Tokens
from model.architectures.registry import build_empty
from model.checkpoints.files import open_state
from model.checkpoints.manifest import read_checkpoint
from model.run.config import read_run
from model.state.boxes import whole


@dataclass(frozen=True, slots=True)
class Likelihood:
    """`log_probability` of the whole continuation in nats; `greedy` when each of its tokens was the most likely one."""

    log_probability: float
    greedy: bool


@dataclass(frozen=True, slots=True)
class Perplexity:
    """`negative_log_likelihood` in nats, summed over `tokens` predicted tokens."""

    negative_log_likelihood: float
    tokens: int

    @property
    def value(self) -> float:
        """exp(nll / tokens)."""
        return math.exp(self.negative_log_likelihood / self.tokens)


def load_checkpoint(lake: Lake, run: str, step: int, cache: Path, threads: int = 1) -> nn.Module:
    """The model of a run after `step` updates, on the CPU, in evaluation mode, with gradients off.

    Sets the number of torch threads of this process; the number affects the last bits of scores.
    Raises NotThere when there is no such checkpoint and Corrupt when its bytes have changed.
    """
    torch.set_num_threads(threads)
    checkpoint = read_checkpoint(lake, run, step)
    model = build_empty(read_run(lake, run).model, "cpu")
    with open_state(lake, checkpoint, cache) as state, torch.no_grad():
        if (held := set(state.shapes())) != (wanted := {name for name, _ in model.named_parameters()}):
            raise Corrupt(
                f"{checkpoint.folder}: parameters {sorted(held ^ wanted)[:3]} do not match the run's model; use "
                "another checkpoint"
            )
        for name, parameter in model.named_parameters():
            parameter.copy_(state.read(name, "weight", whole(tuple(parameter.shape))))
    return model.eval().requires_grad_(False)


def loglikelihood(
    model: nn.Module, requests: Sequence[tuple[Sequence[int], Sequence[int]]], batch: int
) -> list[Likelihood]:
    """The likelihood of each (context, continuation) of token ids, in the given order; `batch` sequences at a time.

    A context that does not fit loses its oldest tokens. Raises ValueError when a context or a
    continuation is empty, or a continuation is longer than the model's positions.
    """
    positions: int = model.config.positions  # type: ignore[assignment,union-attr]
    for number, (context, continuation) in enumerate(requests):
        if not context or not 0 < len(continuation) <= positions:
            raise ValueError(
                f"request {number}: a context of {len(context)} and a continuation of {len(continuation)} tokens; "
                f"give at least one of each, and at most {positions} in the continuation"
            )
    results: dict[int, Likelihood] = {}
    # Batch sequences of similar length to reduce padding; the result does not depend on the order.
    by_length = sorted(range(len(requests)), key=lambda number: (-sum(map(len, requests[number])), number))
    for start in range(0, len(by_length), batch):
        numbers = by_length[start : start + batch]
        rows = [
            (list(context) + list(continuation))[-(positions + 1) :]
            for context, continuation in map(requests.__getitem__, numbers)
        ]
        log_probabilities = _log_probabilities(model, rows)
        for number, row, values in zip(numbers, rows, log_probabilities, strict=True):
            results[number] = _likelihood(values, row, len(requests[number][1]))
    return [results[number] for number in range(len(requests))]


def perplexity(model: nn.Module, tokens: Tokens, length: int, batch: int) -> Perplexity:
    """Perplexity of a whole token file, read in windows of `length` + 1 tokens that overlap by one, as in training.

    Every token except the first is predicted once; the last window may be shorter. Raises ValueError for fewer than two
    tokens.
    """
    if tokens.tokens < 2:
        raise ValueError(
            f"{tokens.name} holds {tokens.tokens} tokens; perplexity needs at least two, so give a larger file"
        )
    total, count = 0.0, 0
    for windows in _windows(tokens, length, batch):
        with torch.no_grad():
            logits = model(windows[:, :-1])
        losses = functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten(), reduction="none")
        total += losses.double().sum().item()
        count += losses.numel()
    return Perplexity(total, count)


def _log_probabilities(model: nn.Module, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """For each row of n tokens, the log-probabilities after each of the first n - 1: (n - 1, vocabulary), fp32."""
    longest = max(len(row) for row in rows) - 1
    padded = torch.zeros(len(rows), longest, dtype=torch.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row) - 1] = torch.tensor(row[:-1])
    with torch.no_grad():
        # Attention is causal, so padding at the end of a row does not change earlier logits.
        logits = model(padded)
    return [functional.log_softmax(logits[number, : len(row) - 1].float(), dim=-1) for number, row in enumerate(rows)]


def _likelihood(values: Tensor, row: Sequence[int], length: int) -> Likelihood:
    wanted = torch.tensor(row[-length:])
    last = values[-length:]
    chosen = last.gather(1, wanted[:, None]).double().sum().item()
    return Likelihood(chosen, bool((last.argmax(dim=-1) == wanted).all()))


def _windows(tokens: Tokens, length: int, batch: int) -> Iterator[Tensor]:
    """Batches (B, length + 1) of whole windows, then the remainder as (1, rest + 1)."""
    whole, rest = divmod(tokens.tokens - 1, length)
    for start in range(0, whole, batch):
        rows = [
            tokens.read(number * length, length + 1).astype("int64")
            for number in range(start, min(start + batch, whole))
        ]
        yield torch.stack([torch.from_numpy(row) for row in rows])
    if rest:
        yield torch.from_numpy(tokens.read(whole * length, rest + 1).astype("int64"))[None]
