"""The training loop: resume at the newest good checkpoint, take the steps that are left, keep the checkpoints due."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from infra.store import faults
from infra.store.errors import StoreError
from infra.store.lake import Lake
from model.architecture import build
from model.checkpoint import Checkpoint, commit, newest_good, withdraw
from model.engine import Engine
from model.initialisation import keyed_generator
from model.launch import Layout
from model.logbook import Logbook
from model.losses import Losses, StepRecord
from model.order import DataOrder, sequences_digest
from model.progress import ProgressWriter, State
from model.run import RunConfig, open_order
from model.slices import open_state, write_slices


class Diverged(RuntimeError):
    """The loss or the gradient is no longer finite."""


def make_engine(config: RunConfig, layout: Layout) -> Engine:
    """The engine of a layout with the run's initial weights. Sets this process's threads and determinism."""
    torch.set_num_threads(config.training.threads)
    torch.use_deterministic_algorithms(True)
    accumulation = layout.accumulation(config.training.batch)
    model = build(config.model, config.seed)
    if layout.engine == "native":
        from model.engine.native import NativeEngine

        return NativeEngine(model, config.training.optimizer)
    from model.engine.deepspeed import DeepSpeedEngine

    return DeepSpeedEngine(model, config.training.optimizer, layout.micro_batch, accumulation)


def share(sequences: range, rank: int, ranks: int, micro_batch: int) -> list[range]:
    """A rank's micro-batches of a step: micro-steps follow each other, each cut into one stretch for every rank."""
    micro_step = micro_batch * ranks
    firsts = range(sequences.start + rank * micro_batch, sequences.stop, micro_step)
    return [range(first, first + micro_batch) for first in firsts]


class Trainer:
    """One launch of a run, on one of its ranks."""

    def __init__(self, lake: Lake, config: RunConfig, layout: Layout, engine: Engine, cache: Path) -> None:
        self.lake, self.config, self.layout, self.engine, self.cache = lake, config, layout, engine, cache
        self.run, self.training = config.key, config.training
        self.launch: str = engine.gather(uuid.uuid4().hex[:12])[0]
        self.logbook = Logbook(lake, self.run, self.launch, engine.rank)
        self.losses = Losses(lake, self.run)
        self.progress = ProgressWriter(lake, self.run, self.training.steps, self.launch)
        self.step = 0
        self._parent = ""
        self._loss: float | None = None

    def train(self) -> None:
        """Take the run to its end. An error is written into the logbook and raised."""
        try:
            self.order: DataOrder = open_order(self.lake, self.config, self.cache / "tokens")
            self._resume()
            while self.step < self.training.steps:
                self._take_step()
            self._show("finished")
        except (StoreError, OSError, ValueError, IndexError, RuntimeError) as error:
            self.logbook.write("error", self.step, error=type(error).__name__, message=str(error))
            self._show("failed")
            raise

    def _resume(self) -> None:
        self._show("starting")
        # The first rank has written the logbook before any rank goes on.
        checkpoint = self.engine.gather(self._find() if self.engine.rank == 0 else None)[0]
        if checkpoint is not None and checkpoint.step == self.training.steps:
            self.step = checkpoint.step
            return
        if checkpoint is not None:
            self._restore(checkpoint)
            return
        torch.set_rng_state(self._fresh_stream())
        faults.reach("train.before_first_checkpoint")
        self._save()

    def _find(self) -> Checkpoint | None:
        checkpoint = newest_good(self.lake, self.run, self.cache, self._refused)
        if checkpoint is None or checkpoint.step < self.training.steps:
            self.logbook.write(
                "launch" if checkpoint is None else "resume",
                0 if checkpoint is None else checkpoint.step,
                layout=asdict(self.layout),
                steps=self.training.steps,
                fingerprint=self.order.fingerprint,
                torch=torch.__version__,
                checkpoint="" if checkpoint is None else checkpoint.digest,
            )
        return checkpoint

    def _restore(self, checkpoint: Checkpoint) -> None:
        ours = (self.order.fingerprint, self.config.seed, checkpoint.step * self.training.batch)
        theirs = (checkpoint.fingerprint, checkpoint.seed, checkpoint.next_sequence)
        if ours != theirs:
            raise ValueError(
                f"{checkpoint.folder}: data fingerprint, seed and next sequence are {theirs}, this launch has {ours}; "
                "the token files are not those that the run began with"
            )
        with open_state(self.lake, checkpoint, self.cache) as state:
            self.engine.restore(state.read, checkpoint.step)
            stream = state.random_stream(self.engine.rank)
            torch.set_rng_state(self._fresh_stream() if stream is None else stream)
        self.step, self._parent = checkpoint.step, checkpoint.digest

    def _take_step(self) -> None:
        began = time.monotonic()
        batch = self.training.batch
        sequences = range(self.step * batch, (self.step + 1) * batch)
        faults.reach(f"train.step.{self.step}")
        mine = share(sequences, self.engine.rank, self.engine.ranks, self.layout.micro_batch)
        loss = self.engine.accumulate([self._tokens(indices) for indices in mine])
        faults.reach(f"train.update.{self.step}")
        rate = self.training.schedule.at(self.step)
        norm = self.engine.update(rate)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(
                f"step {self.step + 1}: loss {loss}, gradient norm {norm}; lower the learning rate or raise the warm-up"
            )
        self.step += 1
        self._loss = loss
        seconds = time.monotonic() - began
        digest = sequences_digest(self.order.fingerprint, self.config.seed, sequences)
        if self.engine.rank == 0:
            self.losses.add(StepRecord(self.step, loss, norm, rate, self._seen(), digest, round(seconds, 6)))
        if self.training.checkpoints.keeps(self.step, self.training.steps):
            self._save()
        elif self.engine.rank == 0 and self.progress.due():
            self.losses.write_tail()
            self._show("training", batch * self.training.sequence_length / seconds)

    def _tokens(self, indices: Sequence[int]) -> Tensor:
        tokens = torch.stack([torch.from_numpy(self.order.tokens(index)) for index in indices])
        if (largest := int(tokens.max())) >= self.config.model.vocabulary:
            raise ValueError(
                f"sequences {indices[0]} to {indices[-1]} hold token {largest}, outside the model's vocabulary of "
                f"{self.config.model.vocabulary}; use the tokenizer that the model was made for"
            )
        return tokens

    def _save(self) -> None:
        leads = self.engine.rank == 0
        if leads:
            self._show("saving")
            self.losses.commit(self.step)
            withdraw(self.lake, self.run, self.step)
        self.engine.gather(None)
        file = write_slices(
            self.lake, self.run, self.step, self.engine.rank, self.engine.state(), torch.get_rng_state(), self.cache
        )
        files = tuple(self.engine.gather(file))
        checkpoint = Checkpoint(
            run=self.run,
            step=self.step,
            next_sequence=self.step * self.training.batch,
            fingerprint=self.order.fingerprint,
            seed=self.config.seed,
            parent=self._parent,
            files=files,
        )
        if leads:
            commit(self.lake, checkpoint)
            self.logbook.write(
                "checkpoint", self.step, checkpoint=checkpoint.digest, bytes=sum(one.bytes for one in files)
            )
        self.engine.gather(None)
        self._parent = checkpoint.digest

    def _refused(self, step: int, reason: str) -> None:
        self.logbook.write("checkpoint_refused", step, reason=reason)

    def _fresh_stream(self) -> Tensor:
        return keyed_generator(self.config.seed, f"rank {self.engine.rank}").get_state()

    def _seen(self) -> int:
        return self.step * self.training.batch * self.training.sequence_length

    def _show(self, state: State, tokens_per_second: float | None = None) -> None:
        if self.engine.rank == 0 or state == "failed":
            self.progress.write(state, self.step, self._loss, self._seen(), tokens_per_second)
