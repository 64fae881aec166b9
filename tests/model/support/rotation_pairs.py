"""LLaMA's released rotation, which pairs neighbouring dimensions, and the one by halves that is used here.

Meta's code turns the dimensions 2j and 2j + 1 of a head together (`meta-llama/llama`, `model.py`,
`apply_rotary_emb`), `model.architectures.layers.Rotary` and `transformers` j and j + D / 2. Moving the
rows of the query and key weights makes one of the other; queries and keys are moved alike, so that their products stay
the same.
"""

from __future__ import annotations

from torch import Tensor


def halves_from_pairs(weight: Tensor, heads: int) -> Tensor:
    """The rows of a released query or key weight (d, d) in the order used here: per head 0, 2, 4 … and 1, 3, 5 …"""
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def pairs_from_halves(weight: Tensor, heads: int) -> Tensor:
    """The way back."""
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
