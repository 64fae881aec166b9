"""Schedules of the learning rate and of checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from model.configuration import about, require, require_limits

KINDS = ("cosine", "neox_until_2023_08", "linear", "constant")
LAST_POWER = 512  # Pythia's `extra-save-iters`: 0 and the powers of two up to here


@dataclass(frozen=True)
class Schedule:
    """A linear warm-up to `learning_rate`, then by `kind`:

    - `cosine`: cosine decay to `minimum` (GPT-NeoX since pull request 1008 of August 2023,
      `megatron/learning_rates.py`; LLaMA, section 2.3);
    - `neox_until_2023_08`: cosine decay towards zero, cut off at `minimum`: what trained Pythia and GPT-NeoX-20B
      (`megatron/learning_rates.py` before that pull request, which says so);
    - `linear`: linear decay to `minimum` (OPT, section 2.2; metaseq, `polynomial_decay_schedule.py` with power 1);
    - `constant`: no decay; `minimum` and `decay` have no effect.

    `warmup` and `decay` count updates from the start of the run. The minimum is reached at `decay` and kept after it.
    """

    kind: Literal["cosine", "neox_until_2023_08", "linear", "constant"] = field(
        metadata=about("Shape of the decay after warm-up.")
    )
    learning_rate: float = field(metadata=about("Peak learning rate, reached after warm-up.", gt=0))
    minimum: float = field(metadata=about("Learning rate at the end of the decay and after it.", ge=0))
    warmup: int = field(metadata=about("Updates of linear warm-up.", ge=0))
    decay: int = field(metadata=about("Updates from the start of the run after which the minimum is reached.", ge=1))

    def __post_init__(self) -> None:
        require(
            self.kind in KINDS,
            f"schedule: kind is {self.kind!r}; it must be {', '.join(map(repr, KINDS[:-1]))} or {KINDS[-1]!r}",
        )
        require_limits(self, "schedule")
        require(
            0 <= self.minimum <= self.learning_rate,
            f"schedule: minimum is {self.minimum}; it must be between 0 and learning_rate {self.learning_rate}",
        )
        require(
            0 <= self.warmup < self.decay,
            f"schedule: warmup {self.warmup} must be at least 0 and below decay {self.decay}",
        )

    def at(self, updates: int) -> float:
        """The learning rate of the next update, after `updates` updates. Both systems exclude overflowed updates.

        With W = warmup and E = decay it is peak · updates / W up to and including W. The first update is an exception:
        in today's GPT-NeoX it has the learning rate of the second, peak / W. In the GPT-NeoX that trained the published
        models (gpt-neox issue 1373) and in metaseq (`trainer.py` sets the rate of update 0 before it) it has 0, so it
        changes only Adam's moments. `constant` warms up as today's GPT-NeoX does.

        After W, with progress = (updates - W) / (E - W), it is minimum + (peak - minimum) times
        (cos(π · progress) + 1) / 2 for cosine and (1 - progress) for linear. For `neox_until_2023_08` it is the larger
        of the minimum and peak · (cos(π · (min(updates, E - W) - W) / E) + 1) / 2.
        """
        if self.warmup and updates <= self.warmup:
            first = 1 if self.kind in ("cosine", "constant") else 0
            return self.learning_rate * max(first, updates) / self.warmup
        if self.kind == "constant":
            return self.learning_rate
        if self.kind == "neox_until_2023_08":
            progress = (min(updates, self.decay - self.warmup) - self.warmup) / self.decay
            return max(self.minimum, self.learning_rate * (math.cos(math.pi * progress) + 1) / 2)
        progress = min(1.0, (updates - self.warmup) / (self.decay - self.warmup))
        left = 1 - progress if self.kind == "linear" else (math.cos(math.pi * progress) + 1) / 2
        return max(self.minimum, self.minimum + (self.learning_rate - self.minimum) * left)


@dataclass(frozen=True)
class CheckpointSchedule:
    """Step 0, every `every` steps and the last step; with kind "pythia" also 1, 2, 4 … 512."""

    kind: Literal["every", "pythia"] = field(
        metadata=about("Regular steps only, or also the powers of two up to 512 (Pythia).")
    )
    every: int = field(metadata=about("Keep a checkpoint every so many steps, and after the last.", ge=1))

    def __post_init__(self) -> None:
        require(self.kind in ("every", "pythia"), f"checkpoints: kind is {self.kind!r}; it must be 'every' or 'pythia'")
        require_limits(self, "checkpoints")

    def keeps(self, step: int, last: int) -> bool:
        """Whether a run of `last` steps keeps a checkpoint after `step` of them."""
        power = self.kind == "pythia" and 0 < step <= LAST_POWER and step & (step - 1) == 0
        return step % self.every == 0 or step == last or power

    def steps(self, last: int) -> list[int]:
        """All kept steps of a run of `last` steps; 154 for Pythia's 143,000."""
        return [step for step in range(last + 1) if self.keeps(step, last)]
