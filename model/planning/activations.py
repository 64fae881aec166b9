"""Bytes of activations that the forward pass keeps for the backward pass, exact for our blocks.

Korthikanti et al. 2022, section 4, count the same way: theirs is 34 · s · b · d + 5 · a · s² · b for a block of
Megatron's GPT in half precision. Ours differ: attention is a fused kernel that keeps no scores (so no 5as²b) but one
fp32 number for each head and token; there is no dropout mask unless there is dropout; parallel residuals share one
input; rotated queries and keys are kept beside the product they come from. Whatever is not said to be cut is whole on
every tensor rank. Figures are bytes per token of one micro-batch on one tensor rank.
"""

from __future__ import annotations

from model.architectures.cross_entropy import LOGITS_AT_A_TIME
from model.architectures.llama.model import LlamaConfig
from model.architectures.opt.model import OptConfig
from model.architectures.registry import ModelConfig
from model.layout import Layout
from model.parallel.shapes import block_shapes

FP32 = 4


def kept_by_block(config: ModelConfig, layout: Layout, size: int) -> float:
    """What a block keeps between its passes, for elements of `size` bytes."""
    cut = layout.tensor if layout.sequence_parallel else 1
    stream = config.width * size / cut
    if layout.recompute == "whole":
        return stream
    if layout.recompute == "selective":
        # The outputs of all products and of attention; those of row-parallel products are sums yet to be made.
        shapes = block_shapes(config, layout.tensor)
        products = size * sum(shape[0] for shape in shapes.values() if len(shape) == 2)
        return stream + products + _attention_output(config, layout, size)
    return kept_without_recompute(config, layout, size)


def kept_without_recompute(config: ModelConfig, layout: Layout, size: int) -> float:
    """What the backward pass of a block works on, whether it was kept or is computed again."""
    return _norms(config, layout, size) + _inputs(config, size) + _inside(config, layout, size)


def kept_by_head(config: ModelConfig, layout: Layout, size: int) -> float:
    """The last norm and the input of the output layer."""
    return _norms(config, layout, size) / 2 + config.width * size


def loss_bytes(config: ModelConfig, layout: Layout, size: int, tokens: int) -> float:
    """Logits of a micro-batch of `tokens` and their gradient, and the stretch of them that is in fp32 at a time."""
    logits = config.vocabulary / layout.tensor * tokens
    return 2 * size * logits + FP32 * min(logits, LOGITS_AT_A_TIME[layout.device])


def _norms(config: ModelConfig, layout: Layout, size: int) -> float:
    """The inputs of a block's two norms and what these keep of themselves; cut with the sequence."""
    cut = layout.tensor if layout.sequence_parallel else 1
    if isinstance(config, LlamaConfig):
        # RMSNorm: its input in fp32, the normalised input, and 1 / root of the mean square.
        return 2 * (config.width * (FP32 + size) + FP32) / cut
    # Mean and 1 / deviation of two norms; on a processor in the precision of the rest.
    statistics = 2 * 2 * (FP32 if layout.device == "cuda" else size)
    # The two norms of a parallel block read one and the same stream.
    streams = 2 if isinstance(config, OptConfig) else 1
    masks = 0.0
    if isinstance(config, OptConfig) and config.dropout:
        masks = 2 * config.width * (1 if layout.device == "cuda" else size)
    return (streams * config.width * size + statistics + masks) / cut


def _inputs(config: ModelConfig, size: int) -> float:
    """What the column-parallel products of attention and feed-forward read: whole on every rank."""
    return 2 * config.width * size


def _inside(config: ModelConfig, layout: Layout, size: int) -> float:
    """Between column- and row-parallel products; cut by tensor parallelism."""
    width = config.width
    if isinstance(config, LlamaConfig):
        # Turned queries and keys, values; gate, its activation, up and their product.
        inner = 3 * width + 4 * config.feed_forward
    elif isinstance(config, OptConfig):
        # Queries, keys, values; ReLU keeps its result alone.
        inner = 3 * width + 4 * width
    else:
        # The fused product, which the values lie in, turned queries and keys; before and after GELU. Where only a part
        # of a head is turned, attention's result is laid out anew for the product behind it.
        turned_whole = config.rotary_dimensions == width // config.heads
        inner = 5 * width + 8 * width + (0 if turned_whole else width)
    return size * inner / layout.tensor + _attention_output(config, layout, size)


def _attention_output(config: ModelConfig, layout: Layout, size: int) -> float:
    """The result of attention, and for each head the logarithm of the softmax's sum."""
    return (config.width * size + config.heads * FP32) / layout.tensor
