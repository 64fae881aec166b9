"""Activation memory of a layout: bytes that the forward pass keeps for the backward pass, exact for our blocks.

Korthikanti et al. 2022, section 4, count the same way: 34 · s · b · d + 5 · a · s² · b for a block of Megatron's GPT in
half precision. Ours differ: attention is a fused kernel that keeps no scores (so no 5as²b) but one fp32 number per head
and token; there is no dropout mask unless there is dropout; parallel residuals share one input; rotated queries and
keys are kept beside the projection they come from. Each architecture declares its own numbers
(`model.architectures.architecture.Activations`). Figures are bytes per token of one micro-batch on one tensor rank, for
elements of `size` bytes. All raise NotDeclared for an architecture without such numbers.
"""

from __future__ import annotations

from model.architectures.architecture import ModelConfig
from model.architectures.cross_entropy import LOGITS_AT_A_TIME
from model.architectures.registry import architecture_of
from model.layout import Layout
from model.parallel.shapes import block_shapes

FP32 = 4


def kept_by_block(config: ModelConfig, layout: Layout, size: int) -> float:
    """What a block keeps from its forward to its backward pass."""
    stream = config.width * size / _sequence_shards(layout)
    if layout.recompute == "whole":
        return stream
    if layout.recompute == "selective":
        # The outputs of all matmuls and of attention; those of row-parallel ones are sums that are yet to be reduced.
        shapes = block_shapes(config, layout.tensor)
        matmuls = size * sum(shape[0] for shape in shapes.values() if len(shape) == 2)
        return stream + matmuls + _attention(config, layout, size)
    return kept_without_recompute(config, layout, size)


def kept_without_recompute(config: ModelConfig, layout: Layout, size: int) -> float:
    """What the backward pass of a block reads, whether it was kept or is recomputed."""
    activations = architecture_of(config).require_activations()
    inner = activations.inner(config, size, layout.device) / layout.tensor + _attention(config, layout, size)
    return _norms(config, layout, size) + activations.inputs(config, size, layout.device) + inner


def kept_by_head(config: ModelConfig, layout: Layout, size: int) -> float:
    """The last norm and the input of the output layer."""
    return _norms(config, layout, size) / 2 + config.width * size


def loss_bytes(config: ModelConfig, layout: Layout, size: int, tokens: int) -> float:
    """Logits of a micro-batch of `tokens` and their gradient, and the part of them that is in fp32 at a time."""
    logits = config.vocabulary / layout.tensor * tokens
    return 2 * size * logits + FP32 * min(logits, LOGITS_AT_A_TIME[layout.device])


def _norms(config: ModelConfig, layout: Layout, size: int) -> float:
    norms = architecture_of(config).require_activations().norms
    return norms(config, size, layout.device) / _sequence_shards(layout)


def _attention(config: ModelConfig, layout: Layout, size: int) -> float:
    return architecture_of(config).require_activations().attention(config, size, layout.device) / layout.tensor


def _sequence_shards(layout: Layout) -> int:
    return layout.tensor if layout.sequence_parallel else 1
