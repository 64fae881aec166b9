"""What can be set of a run's model and of its training."""

from __future__ import annotations

from model.architectures.registry import ARCHITECTURES
from model.run.hyperparameters import TrainingConfig
from tasks.overrides import overrides_of


class ModelOverrides(overrides_of(*(found.config for found in ARCHITECTURES.values()))):  # type: ignore[misc]
    """Fields of all architectures, to replace those of a preset. The preset's architecture refuses what it lacks."""


class TrainingOverrides(overrides_of(TrainingConfig)):  # type: ignore[misc]
    """Hyperparameters, to replace those of a preset or of the run that is begun with."""
