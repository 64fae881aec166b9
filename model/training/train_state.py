"""The training state in a checkpoint, except tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.optim.scaler import LossScaler
from model.optim.spikes import SpikeJudge
from model.run.events import Course
from model.run.hyperparameters import TrainingConfig


class TrainState:
    """Steps taken, updates applied, tokens read, loss scale, spike statistics and the history of events.

    It is the same on all ranks.
    """

    def __init__(self, training: TrainingConfig, course: Course) -> None:
        self.training, self.course = training, course
        self.step = self.updates = self.tokens = 0
        self.scaler = None if training.scaler is None else LossScaler(training.scaler)
        self.judge = SpikeJudge(training.spikes)

    @property
    def finished(self) -> bool:
        """Whether all steps of the run are taken."""
        return self.step >= self.training.steps

    def count(self) -> None:
        """Count a step and its tokens."""
        self.step += 1
        self.tokens += self.training.batch * self.training.sequence_length

    def plain(self) -> dict[str, Any]:
        """The state as plain JSON. Events are represented by the digest of their effect."""
        return {
            "updates": self.updates,
            "tokens": self.tokens,
            "next_sequence": self.course.next_sequence(self.step),
            "course": self.course.digest(self.step),
            "scaler": None if self.scaler is None else self.scaler.state(),
            "spikes": self.judge.state(),
        }

    def load(self, step: int, values: Mapping[str, Any]) -> None:
        """Restore what `plain` returned after `step` steps. Raises ValueError for another scaler or policy."""
        self.step, self.updates, self.tokens = step, int(values["updates"]), int(values["tokens"])
        if self.scaler is not None and values["scaler"] is not None:
            self.scaler.load(values["scaler"])
        self.judge.load(values["spikes"])
