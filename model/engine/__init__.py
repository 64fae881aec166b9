"""The seam between the trainer and what computes: one model, its optimizer, and the ranks that share them.

Every engine has the same meaning. A step's loss is the mean over all its tokens, its gradient is the gradient of that
mean, the norm of that gradient over all parameters is clipped, and AdamW (Loshchilov and Hutter 2019, decoupled decay)
updates. Matrices are decayed; biases and norms are not, as in GPT-NeoX.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from model.layers import require

Kind = Literal["weight", "first_moment", "second_moment"]
KINDS: tuple[Kind, ...] = ("weight", "first_moment", "second_moment")
# AdamW's names for them in `torch.optim`.
MOMENTS: tuple[tuple[Kind, str], ...] = (("first_moment", "exp_avg"), ("second_moment", "exp_avg_sq"))


@dataclass(frozen=True)
class AdamWConfig:
    """AdamW and the clipping of the gradient's L2 norm before it."""

    betas: tuple[float, float]
    epsilon: float
    weight_decay: float
    clip: float

    def __post_init__(self) -> None:
        require(all(0 <= beta < 1 for beta in self.betas), f"optimizer: betas are {self.betas}; they must be in [0, 1)")
        require(self.epsilon > 0, f"optimizer: epsilon is {self.epsilon}; it must be above 0")
        require(self.weight_decay >= 0, f"optimizer: weight_decay is {self.weight_decay}; it must not be negative")
        require(self.clip > 0, f"optimizer: clip is {self.clip}; it must be above 0")


@dataclass(frozen=True)
class Slice:
    """A stretch of one tensor of the training state, flattened in row order: `values` (1-D, fp32) begin at `offset`."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    offset: int
    values: Tensor


# (parameter name, kind, offset, length) -> that stretch, 1-D
ReadState = Callable[[str, Kind, int, int], Tensor]


class Engine(ABC):
    """One rank's part of a training computation. `model` is the whole model, in fp32."""

    rank: int
    ranks: int
    model: nn.Module

    @abstractmethod
    def accumulate(self, micro_batches: Sequence[Tensor]) -> float:
        """Forward and backward over this rank's share of a step; each micro-batch is (B, S + 1), int64.

        Returns the loss of the whole step over all ranks, in nats per token.
        """

    @abstractmethod
    def update(self, learning_rate: float) -> float:
        """Clip and update with the accumulated gradient; returns its L2 norm before clipping, the same on all ranks."""

    @abstractmethod
    def gradients(self) -> Iterator[Slice]:
        """This rank's slices of the step's gradient, between `accumulate` and `update`; their kind is "weight"."""

    @abstractmethod
    def state(self) -> Iterator[Slice]:
        """This rank's slices of weights and moments; all ranks' together cover every tensor exactly once."""

    @abstractmethod
    def restore(self, read: ReadState, updates: int) -> None:
        """Set all weights, and the moments of the slices that this rank owns, as they were after `updates` updates."""

    @abstractmethod
    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, in rank order, on every rank. All ranks must call it."""

    @abstractmethod
    def close(self) -> None:
        """Release what the ranks share."""


def decay_groups(model: nn.Module, config: AdamWConfig) -> list[dict[str, Any]]:
    """AdamW's two parameter groups: matrices with decay, then biases and norms without."""
    parameters = list(model.parameters())
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
