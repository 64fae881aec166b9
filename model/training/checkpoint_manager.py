"""The checkpoints that a launch keeps: what goes into one beside the tensors, and when it is committed."""

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
    """One rank's checkpoints of one launch, within a `with` block; all ranks call it alike.

    `newest` is the step of the newest checkpoint that was begun, or that training went on from; -1 before the first.
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
        # Of the next checkpoint; None for the one that was begun before it.
        self._parent: str | None = ""

    @property
    def idle(self) -> bool:
        """Whether all that was begun is committed, as far as `poll` has seen."""
        return self._saver.idle

    def continue_from(self, checkpoint: Checkpoint) -> None:
        """Training goes on from this one: it is the next one's parent, unless it was kept out of turn."""
        self.newest = checkpoint.step
        training, run = self.launch.config.training, self.launch.config.key
        keeps = training.checkpoints.keeps(checkpoint.step, training.steps)
        # One that was kept out of turn is nobody's parent.
        self._parent = checkpoint.digest if keeps or checkpoint.run != run else checkpoint.parent

    def save(self, ephemeral: bool = False) -> None:
        """Copy the state; the rest happens while training goes on. Raises Superseded when another has the run."""
        step = self.train_state.step
        self.heartbeat.beat(step, "saving")
        with self.clock.measure("saving"):
            self.records.require_ours()
            self.observers.commit(step)
            parent, self._parent = self._parent, None
            streams = random_streams(self.launch)
            self._saver.begin(step, self.engine.state(), streams, self._beside(), parent, ephemeral)
        self.newest = step

    def save_ephemeral(self) -> None:
        """A checkpoint out of turn, unless the newest one is of this step."""
        if self.newest != self.train_state.step:
            self.save(ephemeral=True)

    def poll(self) -> None:
        """Note what has been committed. Does not wait; raises the error of a save that failed."""
        for checkpoint in self._saver.poll():
            self._note(checkpoint)

    def settle(self) -> None:
        """Wait until what was begun is committed, for all ranks."""
        self.heartbeat.beat(self.train_state.step, "saving")
        for checkpoint in self._saver.finish():
            self._note(checkpoint)
        self.engine.gather(None)

    def __enter__(self) -> CheckpointManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self._saver.close()

    def _beside(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "seed": self.launch.config.seed,
            "ranks": seating(self.launch),
            **self.train_state.plain(),
        }

    def _note(self, checkpoint: Checkpoint) -> None:
        size = sum(file.bytes for file in checkpoint.files)
        self.records.note("checkpoint", checkpoint.step, checkpoint=checkpoint.digest, bytes=size)
