"""The logbook and progress of one launch of a run, under a unique launch id."""

from __future__ import annotations

import sys
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.store.errors import StoreUnavailable
from infra.store.lake import Lake
from infra.store.schema import read_object
from model.checkpoints.retention import Retention
from model.engine import Engine
from model.layout import Layout
from model.observers.observer import StepObserver
from model.observers.records import StepRecord
from model.run.config import RunConfig
from model.supervision.logbook import Logbook
from model.supervision.progress import ProgressWriter, State, read_progress
from model.training.train_state import TrainState


@dataclass(frozen=True)
class Launch:
    """How one launch executes a run.

    `cache` is a local folder. `retention` decides which checkpoints keep their whole state. `trackers` are the names of
    the experiment trackers to which rank 0 reports. `id` is unique to the launch; rank 0 makes one where it is empty.
    Only `config` is part of the run's identity.
    """

    lake: Lake
    config: RunConfig
    layout: Layout
    cache: Path
    retention: Retention
    trackers: tuple[str, ...] = ()
    id: str = ""


@dataclass(frozen=True)
class _Claim:
    """The launch that trains the run."""

    launch: str


class Superseded(RuntimeError):
    """A later launch now trains this run."""


class Records:
    """The records of one rank. Rank 0 writes for all ranks; each rank writes its own errors."""

    def __init__(self, launch: Launch, engine: Engine) -> None:
        lake, run = launch.lake, launch.config.key
        self._lake, self._run = lake, run
        self.launch: str = launch.id or engine.gather(uuid.uuid4().hex[:12])[0]
        self.leads = engine.rank == 0
        if self.leads:
            lake.write_json(_claim(run), asdict(_Claim(self.launch)))
        self._logbook = Logbook(lake, run, self.launch, engine.rank)
        self._progress = ProgressWriter(lake, run, launch.config.training.steps, self.launch)
        # The step that an earlier launch reached.
        before = read_progress(lake, run)
        self.furthest = 0 if before is None else before.step
        self._loss: float | None = None
        self._training = launch.config.training

    def note(self, event: str, step: int, **facts: Any) -> None:
        """Write an event into the logbook, once for all ranks."""
        if self.leads:
            self._logbook.write(event, step, **facts)

    def failed(self, train_state: TrainState, error: BaseException) -> None:
        """Write this rank's error into the logbook. Rank 0 also sets the progress to failed, unless superseded."""
        self._logbook.write("error", train_state.step, error=type(error).__name__, message=str(error))
        if not isinstance(error, Superseded):
            self.show("failed", train_state)

    def require_ours(self) -> None:
        """Raise Superseded when a later launch has taken over the run: only one may write its checkpoints."""
        if self.leads:
            self._require_ours(self._lake)

    def _require_ours(self, lake: Lake) -> None:
        latest = read_object(lake, _claim(self._run), _Claim).launch
        if latest != self.launch:
            raise Superseded(
                f"launch {latest} has taken over this run from launch {self.launch}, which ends now; start only one "
                "launch of a run at a time"
            )

    def show(self, state: State, train_state: TrainState, tokens_per_second: float | None = None) -> None:
        """Write the run's progress."""
        if self.leads:
            # Before the first step, report the step that the previous launch reached.
            step = max(train_state.step, self.furthest) if self._loss is None else train_state.step
            self._progress.write(state, step, self._loss, train_state.tokens, tokens_per_second)

    def update(self, train_state: TrainState, record: StepRecord, observers: StepObserver) -> None:
        """Record that a step is done. Once a second, flush the observers and write the progress.

        Raises Superseded, without writing, when a later launch has taken over the run.
        """
        self._loss = record.loss
        if self.leads and self._progress.due("training"):
            # Training continues without the store; losses are kept until it answers.
            try:
                self._require_ours(self._lake.impatient())
            except StoreUnavailable as error:
                print(f"the progress of this run is not up to date: {error}", file=sys.stderr, flush=True)
                self._progress.postpone("training")
                return
            observers.flush()
            tokens = self._training.batch * self._training.sequence_length
            self.show("training", train_state, tokens / record.seconds)


def _claim(run: str) -> str:
    """Each launch writes this object once, when it begins; the last writer owns the run."""
    return f"runs/{run}/launch.json"
