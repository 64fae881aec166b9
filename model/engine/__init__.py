"""The engine interface of the trainer: a model, its optimizer, and the ranks that share them.

All engines compute the same result. A step's loss is the mean over all its tokens. The gradient of that mean is clipped
by its norm over all parameters. AdamW (Loshchilov and Hutter 2019, decoupled decay) updates fp32 weights, in any matmul
precision.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from model.optim.adamw import AdamWConfig
from model.parallel.ranks import MeshCoordinates
from model.parallel.stage import Stage
from model.state.slices import Kind, ReadState, Slice

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# AdamW's names in `torch.optim` for its moments.
MOMENTS: tuple[tuple[Kind, str], ...] = (("first_moment", "exp_avg"), ("second_moment", "exp_avg_sq"))


class Engine(ABC):
    """One rank's part of a training computation. All ranks call the same methods in the same order.

    `loss_scale` multiplies the loss before the backward pass (fp16). Returned losses, norms and gradients are unscaled.
    """

    rank: int
    ranks: int
    coordinates: MeshCoordinates
    stage: Stage
    loss_scale: float = 1.0

    # Called before each micro-batch; used by the heartbeat and to check for signals.
    on_micro_batch: Callable[[], None] = staticmethod(lambda: None)

    @abstractmethod
    def accumulate(self, micro_batches: Sequence[Tensor]) -> float:
        """Forward and backward over this data rank's share of a step; each micro-batch is (B, S + 1), int64.

        Returns the loss of the whole step over all ranks, in nats per token.
        """

    @abstractmethod
    def gradient_norm(self) -> float:
        """The L2 norm of the whole accumulated gradient, the same on all ranks; not finite after an overflow."""

    @abstractmethod
    def update(self, learning_rate: float, clip: float) -> None:
        """Clip the accumulated gradient to the norm `clip` and apply it. Call `gradient_norm` first."""

    @abstractmethod
    def discard(self) -> None:
        """Drop the accumulated gradient; weights and moments do not change."""

    @abstractmethod
    def evaluate(self, micro_batches: Sequence[Tensor]) -> float:
        """The mean loss over all data ranks' micro-batches in nats per token, without dropout or gradients."""

    @abstractmethod
    def gradients(self) -> Iterator[Slice]:
        """This rank's slices of the accumulated gradient, before `update`; their kind is "weight"."""

    @abstractmethod
    def state(self) -> Iterator[Slice]:
        """This rank's slices of weights and moments. The slices of all ranks cover every tensor exactly once."""

    @abstractmethod
    def restore(self, read: ReadState, updates: int) -> None:
        """Load all weights and moments that this rank holds, and set AdamW's step count to `updates`."""

    @abstractmethod
    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, in rank order, on every rank. All ranks must call it."""

    @abstractmethod
    def anyone(self, wants: bool) -> bool:
        """Whether `wants` is true on any rank: one small all-reduce. All ranks must call it."""

    @abstractmethod
    def close(self) -> None:
        """Release process groups and other shared resources."""


def decay_groups(parameters: Iterable[nn.Parameter], config: AdamWConfig) -> list[dict[str, Any]]:
    """AdamW's parameter groups: those with decay, then those without."""
    parameters = list(parameters)
    decayed = [parameter for parameter in parameters if parameter.ndim >= 2 or config.decay == "all"]
    rest = [parameter for parameter in parameters if parameter.ndim < 2 and config.decay == "matrices"]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def moved(tokens: Tensor, device: torch.device) -> Tensor:
    """Tokens on the device. The copy to a GPU is asynchronous, from pinned memory."""
    return tokens.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tokens.to(device)
