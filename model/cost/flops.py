"""Floating-point operations of a token in training, by several conventions, and the utilisation that follows.

Conventions differ by a quarter for small models, so each count carries its own in words. A product of m × k and k × n
is 2mkn operations; the backward pass costs twice the forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model.architectures.architecture import ModelConfig
from model.parallel.shapes import OUTPUT, POSITIONS, TOKENS, elements, output_shape, whole_shapes

FORWARD_AND_BACKWARD = 6  # operations for each weight and token: 2 forward, 4 backward


@dataclass(frozen=True)
class TokenFlops:
    """Operations for one token, forward and backward: in the products of the blocks, in attention's two products with
    no weights, in the output layer, and again in what is recomputed. `convention` says what is counted how.
    """

    blocks: float
    attention: float
    head: float
    recomputed: float
    convention: str

    @property
    def total(self) -> float:
        """All of them."""
        return self.blocks + self.attention + self.head + self.recomputed


def model_flops(config: ModelConfig, sequence_length: int, attention: Literal["full", "causal"] = "full") -> TokenFlops:
    """6 · (N + V·d) + 12 · L · d · s, for N parameters without embeddings (Chowdhery et al. 2022, appendix B, who
    leave the embeddings out; the product of the output layer is counted, the look-up is not).

    With `causal` attention only the half of the scores that is not masked counts: 6 · L · d · s.
    """
    kept = 12 if attention == "full" else 6
    return TokenFlops(
        blocks=FORWARD_AND_BACKWARD * _outside_embeddings(config),
        attention=kept * config.layers * config.width * sequence_length,
        head=FORWARD_AND_BACKWARD * _head(config),
        recomputed=0.0,
        convention=f"model FLOPs, 6·(N without embeddings + V·d) + {kept}·L·d·s, {attention} attention",
    )


def hardware_flops(
    config: ModelConfig,
    sequence_length: int,
    recompute: Literal["none", "selective", "whole"],
    attention: Literal["full", "causal"] = "full",
) -> TokenFlops:
    """`model_flops` and the forward passes that are run again: of whole blocks with `whole`, and of no product with
    `selective`, which keeps all of them (`model/parallel/recompute.py`).
    """
    counted = model_flops(config, sequence_length, attention)
    again = (counted.blocks + counted.attention) / 3 if recompute == "whole" else 0.0
    said = f"hardware FLOPs: {counted.convention}, and a forward pass again where recomputed ({recompute})"
    return TokenFlops(counted.blocks, counted.attention, counted.head, again, said)


def mfu(tokens_per_second: float, flops: TokenFlops, peak: float | None, devices: int = 1) -> float | None:
    """The share of the devices' peak (FLOP/s of one) that those tokens per second of all devices need; None (unknown)
    without a peak. With `hardware_flops` it is the hardware FLOPs utilisation.
    """
    return None if peak is None else tokens_per_second * flops.total / (peak * devices)


def _head(config: ModelConfig) -> int:
    """Weights of the output layer, whether they are also the embedding's or not."""
    return elements(output_shape(config))


def _outside_embeddings(config: ModelConfig) -> int:
    """Parameters but the tables of words and positions and the output layer."""
    tables = (TOKENS, POSITIONS, OUTPUT)
    return sum(elements(shape) for name, shape in whole_shapes(config).items() if name not in tables)
