"""Where a run is: what a checkpoint holds beside the tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.optim.scaler import LossScaler
from model.optim.spikes import SpikeJudge
from model.run.events import Course
from model.run.hyperparameters import TrainingConfig


class TrainState:
    """The steps taken, those of them that updated the weights, the tokens read, loss scale, spike statistics, course.

    All ranks move theirs alike.
    """

    def __init__(self, training: TrainingConfig, course: Course) -> None:
        self.training, self.course = training, course
        self.step = self.updates = self.tokens = 0
        self.scaler = None if training.scaler is None else LossScaler(training.scaler)
        self.judge = SpikeJudge(training.spikes)

    @property
    def finished(self) -> bool:
        """Whether all steps are taken."""
        return self.step >= self.training.steps

    def count(self) -> None:
        """A step is taken: the model has read its tokens."""
        self.step += 1
        self.tokens += self.training.batch * self.training.sequence_length

    def plain(self) -> dict[str, Any]:
        """As plain JSON; the digest of the course stands for the events."""
        return {
            "updates": self.updates,
            "tokens": self.tokens,
            "next_sequence": self.course.next_sequence(self.step),
            "course": self.course.digest(self.step),
            "scaler": None if self.scaler is None else self.scaler.state(),
            "spikes": self.judge.state(),
        }

    def load(self, step: int, values: Mapping[str, Any]) -> None:
        """Go to where `plain` was written, after `step` steps. Raises ValueError when it is of another kind of run."""
        self.step, self.updates, self.tokens = step, int(values["updates"]), int(values["tokens"])
        if self.scaler is not None and values["scaler"] is not None:
            self.scaler.load(values["scaler"])
        self.judge.load(values["spikes"])
