"""The training loop: resume from the newest good checkpoint, run the remaining steps, save checkpoints when due."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Literal

import torch

from infra.store import faults
from model.accounting.clock import StepClock, watch_collectives
from model.accounting.rank_info import rank_info_of_process
from model.checkpoints.manifest import Checkpoint, read_checkpoint
from model.checkpoints.space import require_space
from model.engine import Engine
from model.observers.observer import Observers, StepObserver
from model.optim.scaler import ScaleExhausted
from model.optim.spikes import rollback_step
from model.run.data import open_order, open_validation
from model.run.events import Course, Event, plain_event, read_events, record
from model.supervision.control import Control, Request
from model.supervision.heartbeat import Heartbeat
from model.supervision.termination import Termination
from model.training.checkpoint_manager import CheckpointManager
from model.training.random_streams import fresh_streams
from model.training.records import Launch, Records
from model.training.resume import delete_abandoned, find_checkpoint, restore
from model.training.stepping import Diverged, Interrupted, PendingUpdate, Stepper, finite
from model.training.train_state import TrainState
from model.training.verification import Verification

Outcome = Literal["finished", "stopped", "terminated"]


class Trainer:
    """One launch of a run, on one of its ranks."""

    def __init__(
        self, launch: Launch, engine: Engine, records: Records, clock: StepClock, observers: Sequence[StepObserver]
    ) -> None:
        self.launch, self.engine, self.records, self.clock = launch, engine, records, clock
        self.observers = Observers(observers)
        self.lake, self.run, self.training = launch.lake, launch.config.key, launch.config.training
        self.leads = engine.rank == 0
        self.train_state = TrainState(self.training, launch.config.course(read_events(self.lake, self.run)))

    def train(self) -> Outcome:
        """Train until the end or until asked to stop. Errors are written to the logbook and raised."""
        engine, records = self.engine, self.records
        try:
            with ExitStack() as stack:
                self.termination = stack.enter_context(Termination())
                self.heartbeat = stack.enter_context(
                    Heartbeat(self.lake.impatient(), self.run, engine.rank, records.launch)
                )
                stack.enter_context(watch_collectives(self.clock, self.launch.layout.device))
                outcome = self._train(stack)
        except Exception as error:
            records.failed(self.train_state, error)
            self.observers.close("failed")
            raise
        ended: Literal["finished", "stopped"] = "finished" if outcome == "finished" else "stopped"
        self.observers.close(ended)
        records.show(ended, self.train_state)
        return outcome

    def _train(self, stack: ExitStack) -> Outcome:
        self.heartbeat.beat(0, "starting")
        # Open it before the progress shows "starting": later requests are for this launch.
        self.control = Control(self.lake, self.run, self.records.launch) if self.leads else None
        self._awaited: list[tuple[Request, int]] = []
        self.records.show("starting", self.train_state)
        tokens = self.launch.cache / "tokens"
        order = open_order(self.lake, self.launch.config, tokens)
        validation = open_validation(self.lake, self.launch.config, tokens)
        self.stepper = Stepper(
            self.launch,
            self.engine,
            self.train_state,
            (order, validation),
            self.clock,
            self.heartbeat,
            self._leaving,
        )
        manager = CheckpointManager(
            self.launch,
            self.engine,
            self.train_state,
            self.records,
            self.clock,
            self.observers,
            self.heartbeat,
            order.fingerprint,
        )
        self.checkpoints = stack.enter_context(manager)
        self._begin()
        while not self.train_state.finished:
            if (stop := self._listen()) is not None:
                return self._leave(stop)
            try:
                self._take_step()
            except Interrupted:
                signals = self.engine.gather(self.termination.signal)
                return self._leave(next(name for name in signals if name))
            except (Diverged, ScaleExhausted):
                # All ranks raise it at the same step. The save in flight has an earlier state and may be committed.
                self._settle()
                raise
        self._settle()
        return "finished"

    def _leaving(self) -> bool:
        return self.termination.requested

    def _take_step(self) -> None:
        pending = self.stepper.compute_gradients()
        if pending.verdict.action == "rollback":
            self._roll_back(pending)
        else:
            self._apply(pending)

    def _begin(self) -> None:
        """Continue from the newest good checkpoint, or save the first one."""
        # Rank 0 writes the logbook before any rank continues.
        verification = Verification(self.lake, self.engine, self.launch.cache)
        found = verification.broadcast(self._find(verification)) if self.leads else verification.follow()
        if found is None:
            fresh_streams(self.launch, self.engine, 0)
            faults.reach("train.before_first_checkpoint")
            self.observers.begin(0)
            self.checkpoints.save()
            return
        assert isinstance(found, Checkpoint)
        if found.run == self.run and found.step == self.training.steps:
            self.train_state.load(found.step, found.trainer)
            self.checkpoints.continue_from(found)
            return
        self._restore(found)
        if found.run != self.run:
            self.checkpoints.save()

    def _find(self, verification: Verification) -> Checkpoint | None:
        steps = self.training.checkpoints.steps(self.training.steps)
        parameters, ranks = self.launch.config.model.parameters, rank_info_of_process().local_ranks
        found = find_checkpoint(self.launch, self.train_state, self._refused, verification.verify)
        delete_abandoned(self.lake, self.run, self.train_state)
        if found is None or found.step < self.training.steps:
            require_space(
                self.lake,
                self.run,
                self.launch.cache,
                parameters,
                steps,
                self.launch.retention,
                ranks,
                self.launch.config.first_step,
            )
            self.records.note(
                "launch" if found is None else "resume",
                0 if found is None else found.step,
                layout=self.launch.layout.to_plain(),
                retention=asdict(self.launch.retention),
                steps=self.training.steps,
                fingerprint=self.stepper.order.fingerprint,
                torch=torch.__version__,
                checkpoint="" if found is None else found.digest,
                next_sequence=0 if found is None else self.train_state.course.next_sequence(found.step),
            )
        return found

    def _restore(self, checkpoint: Checkpoint) -> None:
        restore(self.launch, self.engine, self.train_state, self.stepper.order, checkpoint)
        self.observers.begin(self.train_state.step)
        self.checkpoints.continue_from(checkpoint)

    def _listen(self) -> Request | str | None:
        """Handle requests and signals. Returns the stop request or signal name that ends the launch, else None.

        The result is the same on all ranks.
        """
        self.checkpoints.poll()
        if self.checkpoints.idle:
            self._answer_awaited()
        asked: list[Request] = []
        course = self.train_state.course
        if self.control is not None:
            for request in self.control.poll(self.train_state.step):
                if request.kind in ("change", "skip_data"):
                    step = max(self.train_state.step, self.records.furthest)
                    course = self.control.accept(request, course, step, self._lack_of_data)
                else:
                    asked.append(request)
        signal, new = self.termination.signal, course.events[len(self.train_state.course.events) :]
        if not self.engine.anyone(bool(signal or asked or new)):
            return None
        heard = self.engine.gather((signal, asked, new))
        _, asked, new = heard[0]
        self._follow(new)
        for request in asked:
            if request.kind == "save_now":
                self.checkpoints.save_ephemeral()
                self._awaited.append((request, self.train_state.step))
        stops = [request for request in asked if request.kind == "stop"]
        signals = [name for name, _, _ in heard if name]
        return stops[0] if stops else signals[0] if signals else None

    def _leave(self, stop: Request | str) -> Outcome:
        """End the launch, with a save for a signal or if the request asks for one. The run can be started again."""
        if isinstance(stop, str) or stop.save:
            self.checkpoints.save_ephemeral()
        self._settle()
        if isinstance(stop, str):
            self.records.note("terminated", self.train_state.step, signal=stop)
            return "terminated"
        self.records.note("stop", self.train_state.step, cause=stop.cause, who=stop.who, request=stop.id)
        self._awaited.append((stop, self.train_state.step))
        self._answer_awaited()
        return "stopped"

    def _apply(self, pending: PendingUpdate) -> None:
        verdict, step = pending.verdict, self.train_state.step
        if verdict.action != "keep":
            found = {"loss": finite(pending.loss), "gradient_norm": finite(pending.norm)}
            self.records.note(verdict.action, step, cause=verdict.cause, **found)
        if verdict.action == "lower":
            assert self.training.spikes is not None
            self._decide(self.train_state.course.lower(step, self.training.spikes.lower, verdict.cause))
        made = self.stepper.apply(pending)
        self.observers.on_step_end(made)
        self.records.update(self.train_state, made, self.observers)
        if self.training.checkpoints.keeps(self.train_state.step, self.training.steps):
            self.checkpoints.save()

    def _roll_back(self, pending: PendingUpdate) -> None:
        """Return to an earlier checkpoint, skip the data since, and record the event."""
        policy, step, verdict = self.training.spikes, self.train_state.step, pending.verdict
        assert policy is not None
        self.engine.discard()
        self._settle()
        begins, schedule = self.launch.config.first_step, self.training.checkpoints.steps(self.training.steps)
        # Use scheduled checkpoints only: ephemeral ones and retention must not affect where the run continues.
        to = rollback_step([begins, *(at for at in schedule if at > begins)], verdict.since, policy.rollback)
        assert to is not None, "every step comes after the run's first state"
        checkpoint = read_checkpoint(self.lake, self.run, to)
        if checkpoint.pruned:
            raise Diverged(
                f"step {step + 1}: {verdict.cause}; the policy returns to step {to}, whose checkpoint keeps only its "
                "weights; resume with a retention that keeps more checkpoints whole"
            )
        event = self.train_state.course.roll_back(step, to, policy.lower, verdict.cause)
        if lack := self._lack_of_data(self.train_state.course.following(event)):
            raise Diverged(
                f"step {step + 1}: {verdict.cause}; the policy returns to step {to} and skips the data since, "
                f"but then {lack}; continue with more tokens with `millrace train --from`"
            )
        found = {"loss": finite(pending.loss), "gradient_norm": finite(pending.norm)}
        self.records.note("rollback", step, cause=verdict.cause, to=to, **found)
        faults.reach("train.rollback")
        self._decide(event)
        faults.reach("train.rollback.decided")
        if self.leads:
            delete_abandoned(self.lake, self.run, self.train_state)
        faults.reach("train.rollback.given_up")
        self._restore(checkpoint)

    def _decide(self, event: Event) -> None:
        """Record an event of the spike policy before it takes effect. All ranks have the same event."""
        if self.leads:
            record(self.lake, self.run, self.records.launch, self.train_state.course, event)
        self.engine.gather(None)
        self._follow([event])

    def _follow(self, events: Sequence[Event]) -> None:
        """Add recorded events to the course, except those that a killed launch recorded, which are already in it."""
        known = self.train_state.course.events
        new = [event for event in events if event not in known]
        for event in new:
            facts = {name: value for name, value in plain_event(event).items() if name != "step"}
            self.records.note("course", event.step, **facts)
        self.train_state.course = self.train_state.course.following(*new)

    def _lack_of_data(self, course: Course) -> str:
        """The reason why the data does not suffice for the rest of the run; "" when it does."""
        needed, there = course.next_sequence(self.training.steps), self.stepper.order.sequences
        if needed <= there:
            return ""
        return f"the {self.training.steps} steps of the run would end at sequence {needed} of {there}"

    def _settle(self) -> None:
        """Wait until the save in flight is committed, on all ranks."""
        self.checkpoints.settle()
        self._answer_awaited()

    def _answer_awaited(self) -> None:
        """Answer the requests that wait for a checkpoint."""
        awaited, self._awaited = self._awaited, []
        for request, step in awaited:
            if self.control is not None:
                self.control.answer(request.id, step, "done")

    def _refused(self, step: int, reason: str) -> None:
        self.records.note("checkpoint_refused", step, reason=reason)
