"""Activation memory of a LLaMA block."""

from __future__ import annotations

from model.architectures.activations import FP32, fused_attention, two_inputs
from model.architectures.architecture import Activations
from model.architectures.llama.model import LlamaConfig


def norms(config: LlamaConfig, size: int, device: str) -> float:
    """For each of two RMSNorms: the input in fp32, the normalized input, and 1 / root of the mean square."""
    return 2 * (config.width * (FP32 + size) + FP32)


def inner(config: LlamaConfig, size: int, device: str) -> float:
    """Rotated queries and keys, and values; gate, its activation, up, and their elementwise product."""
    return size * (3 * config.width + 4 * config.feed_forward)


ACTIVATIONS = Activations(norms, two_inputs, inner, fused_attention)
