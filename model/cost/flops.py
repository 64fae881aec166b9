"""Floating-point operations per token in training, by several conventions, and the resulting utilisation.

Conventions differ by a quarter for small models, so each count states its own. A matmul of m × k and k × n takes 2mkn
operations; the backward pass costs twice the forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model.architectures.architecture import ModelConfig
from model.parallel.shapes import OUTPUT, POSITIONS, TOKENS, elements, output_shape, whole_shapes

FORWARD_AND_BACKWARD = 6  # operations per weight and token: 2 forward, 4 backward


@dataclass(frozen=True)
class TokenFlops:
    """Operations per token, forward and backward.

    `blocks`: matmuls with the weights of the blocks. `attention`: attention's two matmuls without weights. `head`: the
    output layer. `recomputed`: recomputation. `convention` states what is counted.
    """

    blocks: float
    attention: float
    head: float
    recomputed: float
    convention: str

    @property
    def total(self) -> float:
        """Operations of all parts."""
        return self.blocks + self.attention + self.head + self.recomputed


def model_flops(config: ModelConfig, sequence_length: int, attention: Literal["full", "causal"] = "full") -> TokenFlops:
    """6 · (N + V·d) + 12 · L · d · s, for N parameters without embeddings (Chowdhery et al. 2022, appendix B).

    As there, embeddings do not count: the matmul of the output layer does, the lookup does not. With `causal` attention
    only the unmasked half of the scores counts: 6 · L · d · s.
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
    """`model_flops` plus recomputed forward passes.

    `whole` recomputes whole blocks; `selective` recomputes no matmul (`model/parallel/recompute.py`).
    """
    counted = model_flops(config, sequence_length, attention)
    again = (counted.blocks + counted.attention) / 3 if recompute == "whole" else 0.0
    said = f"hardware FLOPs: {counted.convention}, and a forward pass again where recomputed ({recompute})"
    return TokenFlops(counted.blocks, counted.attention, counted.head, again, said)


def mfu(tokens_per_second: float, flops: TokenFlops, peak: float | None, devices: int = 1) -> float | None:
    """The used fraction of peak FLOP/s; None (unknown) without a peak.

    `tokens_per_second` is over all `devices`, `peak` of one device. With `hardware_flops` the result is the hardware
    FLOPs utilisation.
    """
    return None if peak is None else tokens_per_second * flops.total / (peak * devices)


def _head(config: ModelConfig) -> int:
    """Weights of the output layer, tied to the embedding or not."""
    return elements(output_shape(config))


def _outside_embeddings(config: ModelConfig) -> int:
    """Parameters without token and position embeddings and the output layer."""
    tables = (TOKENS, POSITIONS, OUTPUT)
    return sum(elements(shape) for name, shape in whole_shapes(config).items() if name not in tables)
