"""The hyper-parameters of a run: the part of its configuration that a preset gives."""

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

    every: int = field(metadata=about("Compute the validation loss every so many steps, and after the last.", ge=1))
    sequences: int = field(metadata=about("Number of validation sequences, taken from the first on.", ge=1))

    def __post_init__(self) -> None:
        require_limits(self, "validation")

    def due(self, step: int, last: int) -> bool:
        """Whether it is taken after `step` steps of `last`."""
        return step % self.every == 0 or step == last


@dataclass(frozen=True)
class TrainingConfig:
    """Hyperparameters of a run, except the model's shape. All of them enter the run's identity."""

    sequence_length: int = field(metadata=about("Tokens per sequence that the model reads.", ge=1))
    batch: int = field(metadata=about("Sequences per step, over all ranks and accumulated micro-batches.", ge=1))
    steps: int = field(metadata=about("Optimizer steps of the run.", ge=1))
    schedule: Schedule = field(metadata=about("Learning-rate schedule."))
    optimizer: AdamWConfig = field(metadata=about("AdamW and gradient clipping."))
    checkpoints: CheckpointSchedule = field(metadata=about("Steps after which a checkpoint is kept."))
    precision: Precision = field(
        default="fp32",
        metadata=about("Precision of matrix products; weights and moments are always kept in fp32. fp16 needs scaler."),
    )
    scaler: ScalerConfig | None = field(default=None, metadata=about("Loss scaling; required for fp16, only there."))
    packing: Packing = field(
        default="overlapping",
        metadata=about(
            "How documents fill sequences: consecutive ones share a token (GPT-NeoX), or none (OPT blocks)."
        ),
    )
    reset_boundaries: bool = field(
        default=False, metadata=about("Restart attention and positions at the start of each document in a sequence.")
    )
    validation: ValidationConfig | None = field(default=None, metadata=about("Validation loss; null for none."))
    spikes: SpikePolicy | None = field(default=None, metadata=about("What to do about loss spikes; null for nothing."))
    compat: Literal["neox", "rows", None] = field(
        default=None,
        metadata=about(
            "Data order: our own (null), GPT-NeoX's index maps, or rows as stored (Pythia); see model.order."
        ),
    )
    split: tuple[float, float, float] | None = field(
        default=None,
        metadata=about("Shares of documents for training, validation and test, with compat neox and one source only."),
    )
    threads: int = field(
        default=1,
        metadata=about("CPU threads per rank; enters the identity, since it changes floating-point sums.", ge=1),
    )

    def __post_init__(self) -> None:
        require_limits(self, "training")
        require(
            (self.precision == "fp16") == (self.scaler is not None),
            f"training: precision {self.precision} with scaler {self.scaler}; a loss scaler goes with fp16 only there",
        )
        require(
            self.packing == "overlapping" or self.compat is None,
            f"training: packing {self.packing} is not known in compat {self.compat}; use 'overlapping'",
        )
        require(self.split is None or self.compat == "neox", "training: split goes with compat neox; set that as well")
        require(
            self.split is None or (min(self.split) >= 0 and self.split[0] > 0),
            f"training: split is {self.split}; no share may be below 0, and that for training must be above it",
        )
