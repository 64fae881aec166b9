"""Schedules: the learning rate of an update, and the steps at which a checkpoint is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from model.layers import require

LAST_POWER = 512  # Pythia's `extra-save-iters`: 0 and the powers of two up to here


@dataclass(frozen=True)
class CosineSchedule:
    """Linear warm-up, then a cosine from `learning_rate` to `minimum` (GPT-NeoX, `megatron/learning_rates.py`).

    `warmup` and `decay` count updates; the minimum is reached at `decay` and kept after it.
    """

    learning_rate: float
    minimum: float
    warmup: int
    decay: int

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, f"schedule: learning_rate is {self.learning_rate}; it must be above 0")
        require(
            0 <= self.minimum <= self.learning_rate,
            f"schedule: minimum is {self.minimum}; it must be between 0 and learning_rate {self.learning_rate}",
        )
        require(
            0 <= self.warmup < self.decay,
            f"schedule: warmup {self.warmup} must be at least 0 and below decay {self.decay}",
        )

    def at(self, updates: int) -> float:
        """The rate of the next update after `updates` of them, with W = warmup and E = decay:

        peak · max(1, updates) / W up to and including W,
        then minimum + (peak - minimum) / 2 · (cos(π (updates - W) / (E - W)) + 1).
        """
        if self.warmup and updates <= self.warmup:
            return self.learning_rate * max(1, updates) / self.warmup
        progress = min(1.0, (updates - self.warmup) / (self.decay - self.warmup))
        rate = self.minimum + (self.learning_rate - self.minimum) / 2 * (math.cos(math.pi * progress) + 1)
        return max(rate, self.minimum)


@dataclass(frozen=True)
class CheckpointSchedule:
    """Step 0, every `every` steps and the last step; with kind "pythia" also 1, 2, 4 … 512."""

    kind: Literal["every", "pythia"]
    every: int

    def __post_init__(self) -> None:
        require(self.kind in ("every", "pythia"), f"checkpoints: kind is {self.kind!r}; it must be 'every' or 'pythia'")
        require(self.every >= 1, f"checkpoints: every is {self.every}; it must be at least 1")

    def keeps(self, step: int, last: int) -> bool:
        """Whether a run of `last` steps keeps a checkpoint after `step` of them."""
        power = self.kind == "pythia" and 0 < step <= LAST_POWER and step & (step - 1) == 0
        return step % self.every == 0 or step == last or power

    def steps(self, last: int) -> list[int]:
        """All kept steps of a run of `last` steps; 154 for Pythia's 143,000."""
        return [step for step in range(last + 1) if self.keeps(step, last)]
