"""The hyperparameters of a run: the part of its configuration that a preset sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from model.configuration import about, require, require_limits
from model.optim.adamw import AdamWConfig
from model.optim.precision import Precision
from model.optim.scaler import ScalerConfig
from model.optim.schedule import CheckpointSchedule, Schedule
from model.optim.spikes import SpikePolicy
from model.order.packing import Packing


@dataclass(frozen=True)
class ValidationConfig:
    """When the validation loss is computed, and over how many sequences."""

    every: int = field(metadata=about("Steps between two validation losses; one more follows the last step.", ge=1))
    sequences: int = field(metadata=about("Number of validation sequences, counted from the first.", ge=1))

    def __post_init__(self) -> None:
        require_limits(self, "validation")

    def due(self, step: int, last: int) -> bool:
        """Whether the validation loss is computed after `step` of `last` steps."""
        return step % self.every == 0 or step == last


@dataclass(frozen=True)
class TrainingConfig:
    """Hyperparameters of a run, except the model's shape. All of them are part of the run's identity."""

    sequence_length: int = field(metadata=about("Tokens per sequence that the model reads.", ge=1))
    batch: int = field(metadata=about("Sequences per step, over all ranks and accumulated micro-batches.", ge=1))
    steps: int = field(metadata=about("Optimizer steps of the run.", ge=1))
    schedule: Schedule = field(metadata=about("Learning-rate schedule."))
    optimizer: AdamWConfig = field(metadata=about("AdamW and gradient clipping."))
    checkpoints: CheckpointSchedule = field(metadata=about("Steps after which a checkpoint is kept."))
    precision: Precision = field(
        default="fp32",
        metadata=about("Precision of matmuls; weights and moments are always kept in fp32. fp16 needs scaler."),
    )
    scaler: ScalerConfig | None = field(
        default=None, metadata=about("Loss scaling; required for fp16, null for other precisions.")
    )
    packing: Packing = field(
        default="overlapping",
        metadata=about(
            "How documents fill sequences: consecutive sequences share a token (GPT-NeoX) or none (OPT blocks)."
        ),
    )
    reset_boundaries: bool = field(
        default=False, metadata=about("Restart attention and positions at the start of each document in a sequence.")
    )
    validation: ValidationConfig | None = field(default=None, metadata=about("Validation loss; null for none."))
    spikes: SpikePolicy | None = field(default=None, metadata=about("Actions on loss spikes; null for none."))
    compat: Literal["neox", "rows", None] = field(
        default=None,
        metadata=about(
            "Data order: our own (null), GPT-NeoX's index maps, or rows as stored (Pythia); see model.order."
        ),
    )
    split: tuple[float, float, float] | None = field(
        default=None,
        metadata=about("Shares of documents for training, validation and test; needs compat neox and one source."),
    )
    threads: int = field(
        default=1,
        metadata=about("CPU threads per rank; part of the identity, since it changes floating-point sums.", ge=1),
    )

    def __post_init__(self) -> None:
        require_limits(self, "training")
        require(
            (self.precision == "fp16") == (self.scaler is not None),
            f"training: precision is {self.precision} and scaler is {self.scaler}; fp16 needs a scaler, other "
            "precisions must have none",
        )
        require(
            self.packing == "overlapping" or self.compat is None,
            f"training: packing {self.packing} is not available with compat {self.compat}; use 'overlapping'",
        )
        require(self.split is None or self.compat == "neox", "training: split needs compat neox; set it or omit split")
        require(
            self.split is None or (min(self.split) >= 0 and self.split[0] > 0),
            f"training: split is {self.split}; shares must be at least 0, and the training share above 0",
        )
