"""The checkpoints of a launch: their contents besides tensors, and their commits."""

from __future__ import annotations

from typing import Any

from model.accounting.clock import StepClock
from model.checkpoints.manifest import Checkpoint
from model.checkpoints.saving import Saver
from model.engine import Engine
from model.observers.observer import StepObserver
from model.supervision.heartbeat import Heartbeat
from model.training.random_streams import random_streams, seating
from model.training.records import Launch, Records
from model.training.train_state import TrainState


class CheckpointManager:
    """Saves one rank's checkpoints of one launch; a context manager. All ranks call it in the same order.

    `newest` is the step of the newest checkpoint that was begun or resumed from; -1 before the first.
    """

    def __init__(
        self,
        launch: Launch,
        engine: Engine,
        train_state: TrainState,
        records: Records,
        clock: StepClock,
        observers: StepObserver,
        heartbeat: Heartbeat,
        fingerprint: str,
    ) -> None:
        self.launch, self.engine, self.train_state, self.records = launch, engine, train_state, records
        self.clock, self.observers, self.heartbeat, self.fingerprint = clock, observers, heartbeat, fingerprint
        self._saver = Saver(
            launch.lake,
            launch.config.key,
            engine.rank,
            engine.ranks,
            records.launch,
            launch.cache,
            launch.retention,
        )
        self._saver.on_wait = lambda: heartbeat.beat(train_state.step, "saving")
        self.newest = -1
        # The parent's digest for the next checkpoint; None means the previously saved one.
        self._parent: str | None = ""

    @property
    def idle(self) -> bool:
        """Whether all saves were committed as of the last `poll`."""
        return self._saver.idle

    def continue_from(self, checkpoint: Checkpoint) -> None:
        """Continue from this checkpoint. It becomes the next one's parent, unless it is ephemeral."""
        self.newest = checkpoint.step
        training, run = self.launch.config.training, self.launch.config.key
        keeps = training.checkpoints.keeps(checkpoint.step, training.steps)
        self._parent = checkpoint.digest if keeps or checkpoint.run != run else checkpoint.parent

    def save(self, ephemeral: bool = False) -> None:
        """Copy the state to host memory and write it in the background. Raises Superseded for an older launch."""
        step = self.train_state.step
        self.heartbeat.beat(step, "saving")
        with self.clock.measure("saving"):
            self.records.require_ours()
            self.observers.commit(step)
            parent, self._parent = self._parent, None
            streams = random_streams(self.launch)
            self._saver.begin(step, self.engine.state(), streams, self._trainer_state(), parent, ephemeral)
        self.newest = step

    def save_ephemeral(self) -> None:
        """Save a checkpoint out of schedule, unless the newest one is of this step."""
        if self.newest != self.train_state.step:
            self.save(ephemeral=True)

    def poll(self) -> None:
        """Log newly committed checkpoints. Does not wait. Raises the error of a failed save."""
        for checkpoint in self._saver.poll():
            self._log(checkpoint)

    def settle(self) -> None:
        """Wait until all saves are committed, on all ranks."""
        self.heartbeat.beat(self.train_state.step, "saving")
        for checkpoint in self._saver.finish():
            self._log(checkpoint)
        self.engine.gather(None)

    def __enter__(self) -> CheckpointManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self._saver.close()

    def _trainer_state(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "seed": self.launch.config.seed,
            "ranks": seating(self.launch),
            **self.train_state.plain(),
        }

    def _log(self, checkpoint: Checkpoint) -> None:
        size = sum(file.bytes for file in checkpoint.files)
        self.records.note("checkpoint", checkpoint.step, checkpoint=checkpoint.digest, bytes=size)
