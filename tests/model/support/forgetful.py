"""`model.train` that forgets something of the state when it resumes, as `FORGOTTEN` says. The tests must see each."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from model import train
from model.checkpoints.files import StateReader
from model.optim.scaler import LossScaler
from model.state.boxes import Box
from model.training import resume
from model.training.train_state import TrainState


def main() -> None:
    """Train."""
    FORGETTING[os.environ["FORGOTTEN"]]()
    train.main()


def _moments() -> None:
    original = StateReader.read

    def read(self: StateReader, name: str, kind: Any, box: Box) -> Tensor:
        values = original(self, name, kind, box)
        return values if kind == "weight" else torch.zeros_like(values)

    StateReader.read = read  # type: ignore[method-assign]


def _random_streams() -> None:
    resume.set_streams = lambda streams: None


def _scaler() -> None:
    LossScaler.load = lambda self, state: None  # type: ignore[method-assign]


def _updates() -> None:
    """The count of updates, which skipped steps are no part of."""
    original = TrainState.load

    def load(self: TrainState, step: int, values: Any) -> None:
        original(self, step, values)
        self.updates = step

    TrainState.load = load  # type: ignore[method-assign]


FORGETTING = {"moments": _moments, "random streams": _random_streams, "scaler": _scaler, "updates": _updates}

if __name__ == "__main__":
    main()
