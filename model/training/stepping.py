"""One training step: read sequences, compute gradients, judge them, apply or discard the update, record the step."""

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
from model.training.random_streams import random_streams, set_streams
from model.training.records import Launch
from model.training.train_state import TrainState


class Interrupted(Exception):
    """A signal arrived while a step was being computed. The step has no effect."""


class Diverged(RuntimeError):
    """Loss or gradient norm spiked or is not finite, and the spike policy has no action left."""


@dataclass(frozen=True)
class PendingUpdate:
    """A step whose gradients are computed and judged. Weights and state change only in `Stepper.apply`.

    `loss` is in nats per token, `norm` the gradient's norm before clipping, `scale` the fp16 loss scale, and `began`
    the monotonic time at which the step began.
    """

    plan: StepPlan
    loss: float
    norm: float
    verdict: Verdict
    scale: float | None
    began: float


class Stepper:
    """Runs the steps of one rank; all ranks call it in the same order.

    `leaving()` is true when a signal has asked this rank to stop.
    """

    def __init__(
        self,
        launch: Launch,
        engine: Engine,
        train_state: TrainState,
        orders: tuple[Order, Order | None],
        clock: StepClock,
        heartbeat: Heartbeat,
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        self.launch, self.engine, self.train_state = launch, engine, train_state
        self.order, self.validation = orders
        self.clock, self.heartbeat, self.leaving = clock, heartbeat, leaving

    def compute_gradients(self) -> PendingUpdate:
        """Compute the gradients of the next step and judge them.

        Raises Diverged when the spike policy has no action left. Raises Interrupted, with random streams restored, when
        any rank is asked to stop, because a step may take longer than the time left to save.
        """
        began, train_state, step = time.monotonic(), self.train_state, self.train_state.step
        plan = train_state.course.at(step)
        faults.reach(f"train.step.{step}")
        scale = None if train_state.scaler is None else train_state.scaler.scale
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
        return PendingUpdate(plan, loss, norm, self._verdict(loss, norm, scale), scale, began)

    def apply(self, pending: PendingUpdate) -> StepRecord:
        """Apply the update or discard the gradients, and count the step."""
        train_state, training = self.train_state, self.launch.config.training
        # Schedules count updates: a step whose update is dropped does not advance them (as in DeepSpeed and metaseq).
        rate = pending.plan.rate(training.schedule.at(train_state.updates))
        keep = pending.verdict.action == "keep"
        with self.clock.measure("compute"):
            if keep:
                self.engine.update(rate, training.optimizer.clip if pending.plan.clip is None else pending.plan.clip)
                train_state.updates += 1
            else:
                self.engine.discard()
        if train_state.scaler is not None:
            train_state.scaler.update(not math.isfinite(pending.norm))
        faults.reach(f"train.after_update.{train_state.step}")
        train_state.count()
        validation = self._validation_loss()
        sequences = pending.plan.sequences
        return StepRecord(
            step=train_state.step,
            loss=finite(pending.loss),
            gradient_norm=finite(pending.norm),
            learning_rate=rate,
            tokens=train_state.tokens,
            sequences=sequences_digest(self.order.fingerprint, self.order.seed, sequences),
            first_sequence=sequences[0],
            seconds=round(time.monotonic() - pending.began, 6),
            skipped=not keep,
            cause=pending.verdict.cause,
            scale=pending.scale,
            validation_loss=validation,
        )

    def _watch(self, micro_batches: int) -> Callable[[], None]:
        """A callback for each micro-batch: marks the heartbeat, and from the second one on checks for signals."""
        step, begun = self.train_state.step, 0
        # Pipeline stages are never all between two micro-batches at the same time.
        asks = micro_batches > 1 and self.launch.layout.pipeline == 1

        def watch() -> None:
            nonlocal begun
            self.heartbeat.beat(step, "compute")
            if asks and begun and self.engine.anyone(self.leaving()):
                raise Interrupted
            begun += 1

        return watch

    def _verdict(self, loss: float, norm: float, scale: float | None) -> Verdict:
        step, course = self.train_state.step, self.train_state.course
        if scale is not None and not math.isfinite(norm):
            # The loss scaler handles fp16 overflows; they are not spikes.
            return Verdict("skip", f"the gradient overflowed at loss scale {scale:g}", step)
        verdict = self.train_state.judge.judge(step, loss, norm, course.interventions(step))
        if verdict.action == "fail":
            raise Diverged(
                f"step {step + 1}: {verdict.cause}; lower the learning rate, increase the warm-up, or set a policy in "
                "training.spikes"
            )
        return verdict

    def _validation_loss(self) -> float | None:
        training, step = self.launch.config.training, self.train_state.step
        wanted = training.validation
        if wanted is None or self.validation is None or not wanted.due(step, training.steps):
            return None
        self.engine.on_micro_batch = lambda: self.heartbeat.beat(step, "compute")
        with self.clock.measure("compute"):
            return self.engine.evaluate(self._micro_batches(self.validation, range(wanted.sequences)))

    def _micro_batches(self, order: Order, sequences: Sequence[int]) -> list[Tensor]:
        shares = self.launch.layout.share(range(len(sequences)), self.engine.coordinates.data)
        return [self._tokens(order.tokens, [sequences[index] for index in share]) for share in shares]

    def _tokens(self, tokens_of: Callable[[int], object], indices: Sequence[int]) -> Tensor:
        tokens = torch.stack([torch.as_tensor(tokens_of(index)) for index in indices])
        vocabulary = self.launch.config.model.vocabulary
        if (largest := int(tokens.max())) >= vocabulary:
            raise ValueError(
                f"sequences {indices[0]} to {indices[-1]} contain token {largest}, outside the model's vocabulary of "
                f"{vocabulary}; use the model's tokenizer"
            )
        return tokens


def finite(value: float) -> float | None:
    """The value, or None for NaN and infinities, which JSON cannot hold."""
    return value if math.isfinite(value) else None
