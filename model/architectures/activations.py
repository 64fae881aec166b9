"""Activation memory that several architectures share; see `model.architectures.architecture.Activations`.

Figures are bytes per token of one block, for elements of `size` bytes.
"""

from __future__ import annotations

from model.architectures.architecture import ModelConfig

FP32 = 4


def layer_norm_statistics(size: int, device: str) -> int:
    """Mean and 1 / standard deviation of a block's two LayerNorms: fp32 on a GPU, the input's dtype on a CPU."""
    return 2 * 2 * (FP32 if device == "cuda" else size)


def two_inputs(config: ModelConfig, size: int, device: str) -> float:
    """The inputs of attention and feed-forward."""
    return 2 * config.width * size


def fused_attention(config: ModelConfig, size: int, device: str) -> float:
    """The output of the fused attention kernel, and the log-sum-exp of each head's softmax in fp32."""
    return config.width * size + config.heads * FP32
