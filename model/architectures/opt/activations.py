"""Activation memory of an OPT block."""

from __future__ import annotations

from model.architectures.activations import fused_attention, layer_norm_statistics, two_inputs
from model.architectures.architecture import Activations
from model.architectures.opt.model import OptConfig


def norms(config: OptConfig, size: int, device: str) -> float:
    """The inputs of two LayerNorms, their statistics and, with dropout, two masks."""
    masks = 2 * config.width * (1 if device == "cuda" else size) if config.dropout else 0.0
    return 2 * config.width * size + layer_norm_statistics(size, device) + masks


def inner(config: OptConfig, size: int, device: str) -> float:
    """Queries, keys, values; ReLU keeps only its output."""
    return size * (3 * config.width + 4 * config.width)


ACTIVATIONS = Activations(norms, two_inputs, inner, fused_attention)
