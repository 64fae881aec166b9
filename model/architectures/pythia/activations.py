"""Activation memory of a Pythia block."""

from __future__ import annotations

from model.architectures.activations import fused_attention, layer_norm_statistics, two_inputs
from model.architectures.architecture import Activations
from model.architectures.pythia.model import PythiaConfig


def norms(config: PythiaConfig, size: int, device: str) -> float:
    """The input that the two LayerNorms of a parallel block share, and their statistics."""
    return config.width * size + layer_norm_statistics(size, device)


def inner(config: PythiaConfig, size: int, device: str) -> float:
    """The fused projection, which includes the values; rotated queries and keys; input and output of GELU.

    If only part of a head is rotated, the output of attention is copied for the projection that follows.
    """
    whole_heads = config.rotary_dimensions == config.width // config.heads
    return size * (5 * config.width + 8 * config.width + (0 if whole_heads else config.width))


ACTIVATIONS = Activations(norms, two_inputs, inner, fused_attention)
