"""Hyperparameters of AdamW (Loshchilov and Hutter 2019) and of gradient clipping."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from model.configuration import about, require, require_limits


@dataclass(frozen=True)
class AdamWConfig:
    """AdamW with decoupled weight decay, after clipping the gradient by its global L2 norm."""

    betas: tuple[float, float] = field(
        metadata=about("Decay rates of the first and second moment averages, each in [0, 1).")
    )
    epsilon: float = field(metadata=about("Added to the root of the second moment in the denominator.", gt=0))
    weight_decay: float = field(metadata=about("Decoupled weight decay coefficient.", ge=0))
    clip: float = field(metadata=about("Largest global L2 norm of the gradient; larger gradients are scaled.", gt=0))
    decay: Literal["matrices", "all"] = field(
        default="matrices",
        metadata=about("Decayed parameters: matrices only (GPT-NeoX: no biases or norms) or all of them (metaseq)."),
    )

    def __post_init__(self) -> None:
        require(all(0 <= beta < 1 for beta in self.betas), f"optimizer: betas are {self.betas}; they must be in [0, 1)")
        require_limits(self, "optimizer")
