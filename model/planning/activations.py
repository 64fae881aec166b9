"""Activation memory of a layout: bytes that the forward pass keeps for the backward pass.

Korthikanti et al. 2022, section 4, count in the same way: 34 · s · b · d + 5 · a · s² · b for a block of Megatron's GPT
in half precision. The blocks here differ. Fused attention keeps one fp32 number per head and token instead of the
scores (no 5as²b). Dropout masks exist only where dropout is on. Parallel residuals share one input. Rotated queries and
keys are kept in addition to their projection. The figures are exact for these blocks: each architecture declares its
own (`model.architectures.architecture.Activations`).

Figures are bytes per token of one micro-batch on one tensor rank, for elements of `size` bytes. All functions raise
NotDeclared for an architecture without such figures.
"""

from __future__ import annotations

from model.architectures.architecture import ModelConfig
from model.architectures.cross_entropy import LOGITS_AT_A_TIME
from model.architectures.registry import architecture_of
from model.layout import Layout
from model.parallel.shapes import block_shapes

FP32 = 4


def kept_by_block(config: ModelConfig, layout: Layout, size: int) -> float:
    """Bytes that a block keeps from its forward pass for its backward pass."""
    stream = config.width * size / _sequence_shards(layout)
    if layout.recompute == "whole":
        return stream
    if layout.recompute == "selective":
        # Row-parallel outputs are kept as partial sums before the reduction, so they count in full width.
        shapes = block_shapes(config, layout.tensor)
        matmuls = size * sum(shape[0] for shape in shapes.values() if len(shape) == 2)
        return stream + matmuls + _attention(config, layout, size)
    return kept_without_recompute(config, layout, size)


def kept_without_recompute(config: ModelConfig, layout: Layout, size: int) -> float:
    """Bytes that the backward pass of a block reads, kept or recomputed."""
    activations = architecture_of(config).require_activations()
    inner = activations.inner(config, size, layout.device) / layout.tensor + _attention(config, layout, size)
    return _norms(config, layout, size) + activations.inputs(config, size, layout.device) + inner


def kept_by_head(config: ModelConfig, layout: Layout, size: int) -> float:
    """Bytes of the last norm and of the input of the output layer."""
    return _norms(config, layout, size) / 2 + config.width * size


def loss_bytes(config: ModelConfig, layout: Layout, size: int, tokens: int) -> float:
    """Bytes of the logits of `tokens` tokens and of their gradient, and of the part converted to fp32 at a time."""
    logits = config.vocabulary / layout.tensor * tokens
    return 2 * size * logits + FP32 * min(logits, LOGITS_AT_A_TIME[layout.device])


def _norms(config: ModelConfig, layout: Layout, size: int) -> float:
    norms = architecture_of(config).require_activations().norms
    return norms(config, size, layout.device) / _sequence_shards(layout)


def _attention(config: ModelConfig, layout: Layout, size: int) -> float:
    return architecture_of(config).require_activations().attention(config, size, layout.device) / layout.tensor


def _sequence_shards(layout: Layout) -> int:
    return layout.tensor if layout.sequence_parallel else 1
