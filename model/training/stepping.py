"""One step of training: its sequences, the gradient, what is made of it, and the record of all that."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infra.store import faults
from model.accounting.clock import StepClock
from model.engine import Engine
from model.observers.records import StepRecord
from model.optim.spikes import Verdict
from model.order import Order, sequences_digest
from model.run.events import StepPlan
from model.supervision.heartbeat import Heartbeat
from model.training.position import Position
from model.training.random_streams import random_streams, set_streams
from model.training.records import Launch


class Interrupted(Exception):
    """A signal came while a step was being computed; of the step, nothing is done."""


class Diverged(RuntimeError):
    """The loss or the gradient left the ordinary, and the run's policy knows no cure."""


@dataclass(frozen=True)
class Judged:
    """A step whose gradient is there and whose verdict is known; without `Stepper.carry_out`, nothing has changed."""

    plan: StepPlan
    loss: float
    norm: float
    verdict: Verdict
    scale: float | None
    began: float


class Stepper:
    """Takes the steps of one rank; all ranks take them alike. `leaving` says whether a signal asked this rank to go."""

    def __init__(
        self,
        launch: Launch,
        engine: Engine,
        position: Position,
        orders: tuple[Order, Order | None],
        clock: StepClock,
        heartbeat: Heartbeat,
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        self.launch, self.engine, self.position = launch, engine, position
        self.order, self.validation = orders
        self.clock, self.heartbeat, self.leaving = clock, heartbeat, leaving

    def judge(self) -> Judged:
        """Compute the gradient of the next step and decide what to do with it.

        Raises Diverged when nothing helps, and Interrupted, with the random streams as they were, when any rank is
        leaving: a step may take longer than there is time to save.
        """
        began, position, step = time.monotonic(), self.position, self.position.step
        plan = position.course.at(step)
        faults.reach(f"train.step.{step}")
        scale = None if position.scaler is None else position.scaler.scale
        self.engine.loss_scale = 1.0 if scale is None else scale
        self.heartbeat.beat(step, "data")
        with self.clock.measure("data"):
            micro_batches = self._micro_batches(self.order, plan.sequences)
        streams = random_streams(self.launch)
        self.engine.on_micro_batch = self._watch(len(micro_batches))
        try:
            with self.clock.measure("compute"):
                loss = self.engine.accumulate(micro_batches)
        except Interrupted:
            set_streams(streams)
            raise
        with self.clock.measure("compute"):
            self.heartbeat.beat(step, "communication")
            norm = self.engine.gradient_norm()
        faults.reach(f"train.update.{step}")
        return Judged(plan, loss, norm, self._verdict(loss, norm, scale), scale, began)

    def carry_out(self, judged: Judged) -> StepRecord:
        """Update with the gradient, or drop it, and count the step."""
        position, training = self.position, self.launch.config.training
        # Schedules count updates: a step whose update is dropped does not move them (DeepSpeed and metaseq alike).
        rate = judged.plan.rate(training.schedule.at(position.updates))
        keep = judged.verdict.action == "keep"
        with self.clock.measure("compute"):
            if keep:
                self.engine.update(rate, training.optimizer.clip if judged.plan.clip is None else judged.plan.clip)
                position.updates += 1
            else:
                self.engine.discard()
        if position.scaler is not None:
            position.scaler.update(not math.isfinite(judged.norm))
        faults.reach(f"train.after_update.{position.step}")
        position.count()
        validation = self._validation_loss()
        sequences = judged.plan.sequences
        return StepRecord(
            step=position.step,
            loss=finite(judged.loss),
            gradient_norm=finite(judged.norm),
            learning_rate=rate,
            tokens=position.tokens,
            sequences=sequences_digest(self.order.fingerprint, self.order.seed, sequences),
            first_sequence=sequences[0],
            seconds=round(time.monotonic() - judged.began, 6),
            skipped=not keep,
            cause=judged.verdict.cause,
            scale=judged.scale,
            validation_loss=validation,
        )

    def _watch(self, micro_batches: int) -> Callable[[], None]:
        """What is done before each micro-batch: a mark, and between two of them a look at who is leaving."""
        step, begun = self.position.step, 0
        # The stages of a pipeline are never between two micro-batches at one time.
        asks = micro_batches > 1 and self.launch.layout.pipeline == 1

        def watch() -> None:
            nonlocal begun
            self.heartbeat.beat(step, "compute")
            if asks and begun and self.engine.anyone(self.leaving()):
                raise Interrupted
            begun += 1

        return watch

    def _verdict(self, loss: float, norm: float, scale: float | None) -> Verdict:
        step, course = self.position.step, self.position.course
        if scale is not None and not math.isfinite(norm):
            # An overflow of fp16 is the scaler's business, not a spike.
            return Verdict("skip", f"the gradient overflowed at loss scale {scale:g}", step)
        verdict = self.position.judge.judge(step, loss, norm, course.interventions(step))
        if verdict.action == "fail":
            raise Diverged(
                f"step {step + 1}: {verdict.cause}; lower the learning rate, raise the warm-up, or give the run a "
                "policy in training.spikes"
            )
        return verdict

    def _validation_loss(self) -> float | None:
        training, step = self.launch.config.training, self.position.step
        wanted = training.validation
        if wanted is None or self.validation is None or not wanted.due(step, training.steps):
            return None
        self.engine.on_micro_batch = lambda: self.heartbeat.beat(step, "compute")
        with self.clock.measure("compute"):
            return self.engine.evaluate(self._micro_batches(self.validation, range(wanted.sequences)))

    def _micro_batches(self, order: Order, sequences: Sequence[int]) -> list[Tensor]:
        places = self.launch.layout.share(range(len(sequences)), self.engine.place.data)
        return [self._tokens(order.tokens, [sequences[place] for place in one]) for one in places]

    def _tokens(self, tokens_of: Callable[[int], object], indices: Sequence[int]) -> Tensor:
        tokens = torch.stack([torch.as_tensor(tokens_of(index)) for index in indices])
        vocabulary = self.launch.config.model.vocabulary
        if (largest := int(tokens.max())) >= vocabulary:
            raise ValueError(
                f"sequences {indices[0]} to {indices[-1]} hold token {largest}, outside the model's vocabulary of "
                f"{vocabulary}; use the tokenizer that the model was made for"
            )
        return tokens


def finite(value: float) -> float | None:
    """None for what JSON has no number for."""
    return value if math.isfinite(value) else None
