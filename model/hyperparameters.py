"""The hyper-parameters of a run: the part of its configuration that a preset gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model.configuration import require
from model.engine import AdamWConfig, Precision
from model.order import Packing
from model.scaler import ScalerConfig
from model.schedule import CheckpointSchedule, Schedule
from model.spikes import SpikePolicy


@dataclass(frozen=True)
class ValidationConfig:
    """The loss of the first `sequences` validation sequences is taken every `every` steps and at the end."""

    every: int
    sequences: int

    def __post_init__(self) -> None:
        for name in ("every", "sequences"):
            require(getattr(self, name) >= 1, f"validation: {name} is {getattr(self, name)}; it must be at least 1")

    def due(self, step: int, last: int) -> bool:
        """Whether it is taken after `step` steps of `last`."""
        return step % self.every == 0 or step == last


@dataclass(frozen=True)
class TrainingConfig:
    """Hyper-parameters. `batch` counts sequences per step over all ranks; `threads` per rank changes sums.

    `precision` is that of the products; weights and moments are kept in fp32. fp16 goes with a loss `scaler`. With
    `reset_boundaries` attention and positions end at the borders of documents. `compat` is whose data order it is: None
    for our own, GPT-NeoX's, or that in which rows are stored, as Pythia's are (see `model.order`). With `split`, which
    is GPT-NeoX's, the run trains on the first share of its only source's documents and validates on the second.
    """

    sequence_length: int
    batch: int
    steps: int
    schedule: Schedule
    optimizer: AdamWConfig
    checkpoints: CheckpointSchedule
    precision: Precision = "fp32"
    scaler: ScalerConfig | None = None
    packing: Packing = "overlapping"
    reset_boundaries: bool = False
    validation: ValidationConfig | None = None
    spikes: SpikePolicy | None = None
    compat: Literal["neox", "rows", None] = None
    split: tuple[float, float, float] | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("sequence_length", "batch", "steps", "threads"):
            require(getattr(self, name) >= 1, f"training: {name} is {getattr(self, name)}; it must be at least 1")
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
