"""The record of a training step."""

from __future__ import annotations

from dataclasses import dataclass

from infra.store.schema import Count, Seconds


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step, counted from 1 and recorded after its update.

    `loss` is before the update, in nats per token; `gradient_norm` is before clipping; both are None when not finite.
    `tokens` is the number of tokens read so far. `sequences` is the digest of the sequences of the step, and
    `first_sequence` the first of them. `seconds` is the wall time. If the update was `skipped`, `cause` is the reason.
    `scale` is the fp16 loss scale. `validation_loss` is after the update, None if it was not computed.
    """

    step: Count
    loss: float | None
    gradient_norm: float | None
    learning_rate: float
    tokens: Count
    sequences: str
    first_sequence: Count
    seconds: Seconds
    skipped: bool = False
    cause: str = ""
    scale: float | None = None
    validation_loss: float | None = None

    def scalars(self) -> dict[str, float]:
        """The values that a dashboard shows, by tag."""
        shown = {
            "train/loss": self.loss,
            "train/gradient_norm": self.gradient_norm,
            "train/learning_rate": self.learning_rate,
            "train/loss_scale": self.scale,
            "validation/loss": self.validation_loss,
        }
        return {tag: value for tag, value in shown.items() if value is not None}
