"""What one launch of a run writes to: its logbook, losses and progress, under an identity that no other launch has."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.store.lake import Lake
from model.engine import Engine
from model.layout import Layout
from model.logbook import Logbook
from model.losses import Losses
from model.position import Position
from model.progress import ProgressWriter, State, read_progress
from model.retention import Retention
from model.run import RunConfig


@dataclass(frozen=True)
class Launch:
    """How a run is carried out this time. `cache` is a local folder; `retention` says which checkpoints stay whole."""

    lake: Lake
    config: RunConfig
    layout: Layout
    cache: Path
    retention: Retention


class Records:
    """The records of one rank; the first one speaks for all, each for its own errors."""

    def __init__(self, launch: Launch, engine: Engine) -> None:
        lake, run = launch.lake, launch.config.key
        self.launch: str = engine.gather(uuid.uuid4().hex[:12])[0]
        self.leads = engine.rank == 0
        self.losses = Losses(lake, run)
        self._logbook = Logbook(lake, run, self.launch, engine.rank)
        self._progress = ProgressWriter(lake, run, launch.config.training.steps, self.launch)
        # How far an earlier launch had come before this one says where it is.
        before = read_progress(lake, run)
        self.furthest = 0 if before is None else before.step
        self._loss: float | None = None
        self._training = launch.config.training

    def note(self, event: str, step: int, **facts: Any) -> None:
        """Write an event into the logbook, once for all ranks."""
        if self.leads:
            self._logbook.write(event, step, **facts)

    def failed(self, position_step: int, error: BaseException) -> None:
        """Write this rank's error into the logbook; the progress says so too."""
        self._logbook.write("error", position_step, error=type(error).__name__, message=str(error))
        self._progress.write("failed", position_step, self._loss, 0, None)

    def show(self, state: State, position: Position, tokens_per_second: float | None = None) -> None:
        """Say how far the run is."""
        if self.leads:
            self._progress.write(state, position.step, self._loss, position.tokens, tokens_per_second)

    def took(self, position: Position, loss: float | None, seconds: float) -> None:
        """A step is done; say so when it is time."""
        self._loss = loss
        if self.leads and self._progress.due():
            self.losses.write_tail()
            self.show("training", position, self._training.batch * self._training.sequence_length / seconds)
