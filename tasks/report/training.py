"""A training run from its stored records: losses, checkpoints, scores, launches and cost."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.store.errors import NotThere
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from model.accounting.account import Account, read_accounts
from model.checkpoints.manifest import Checkpoint, committed_steps, read_checkpoint
from model.observers.losses import StepRecord, read_losses
from model.supervision.logbook import read_logbook
from tasks.evaluation.results import read_evaluations
from tasks.runs import read_run_record
from tasks.token_artifact import token_digests

EVENTS_KEPT = 100
JOULES_OF_KILOWATT_HOUR = 3.6e6


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of one task; `standard_error` is None if the task has none."""

    task: str
    metric: str
    value: float
    standard_error: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of one checkpoint: perplexity per token on held-out text (total and per source), and task metrics."""

    step: int
    perplexity: float
    held_out_tokens: int
    sources: tuple[tuple[str, float], ...]
    scores: tuple[Score, ...]
    seconds: float
    libraries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the logbook other than a saved checkpoint."""

    time: str
    step: int
    event: str
    detail: str


@dataclass(frozen=True, slots=True)
class Usage:
    """The resources of all launches of a run, failed ones included. Hours add up all `devices`, one per rank on a CPU.

    `kilowatt_hours` cover only the devices of metered accounts; None if no account is metered.
    """

    devices: str
    device_hours: float
    kilowatt_hours: float | None
    unmetered: int


@dataclass(frozen=True, slots=True)
class Training:
    """One run. Seconds are those of the recorded steps; `began` and `ended` are times of its first and last event.

    `origin` is RUN@STEP if the run began with another run's checkpoint, else "".
    """

    key: str
    label: str
    architecture: str
    parameters: int
    configuration: dict[str, dict[str, Any]]
    seed: int
    origin: str
    steps_planned: int
    steps: tuple[StepRecord, ...]
    evaluations: tuple[Evaluation, ...]
    checkpoints: tuple[int, ...]
    checkpoint_bytes: int
    launches: int
    restarted_at: tuple[int, ...]
    errors: int
    events: tuple[Event, ...]
    events_left_out: int
    began: str
    ended: str
    torch: str
    usage: Usage | None

    @property
    def losses(self) -> tuple[tuple[int, float], ...]:
        """(step, loss) of the steps with a finite loss."""
        return tuple((step.step, step.loss) for step in self.steps if step.loss is not None)

    @property
    def validation_losses(self) -> tuple[tuple[int, float], ...]:
        """(step, loss on validation sequences) of the steps that measured it."""
        return tuple((step.step, step.validation_loss) for step in self.steps if step.validation_loss is not None)

    @property
    def skipped(self) -> tuple[StepRecord, ...]:
        """The steps whose update was skipped."""
        return tuple(step for step in self.steps if step.skipped)

    @property
    def restarts(self) -> int:
        """The number of launches after the first."""
        return len(self.restarted_at)

    @property
    def seconds(self) -> float:
        """Wall time of all steps."""
        return sum(step.seconds for step in self.steps)

    @property
    def wall_seconds(self) -> float:
        """From the first to the last recorded event, including pauses."""
        began, ended = (datetime.datetime.fromisoformat(time) for time in (self.began, self.ended))
        return (ended - began).total_seconds()

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of the recorded steps divided by their wall time."""
        if not self.steps or not self.seconds:
            return None
        return self.steps[-1].tokens / self.steps[-1].step * len(self.steps) / self.seconds


def training_of(lake: Lake, run: str, tokens: Manifest) -> Training:
    """Collect a run's records from the lake. Raises NotThere for an unknown run, ValueError for one on other tokens."""
    configuration = read_run_record(lake, run)
    # Compared by digest: the same tokens may be cut into other files.
    ours = set(token_digests(lake, tokens).values())
    if not any(source.digest in ours for source in configuration.sources):
        raise ValueError(f"the run {run} reads none of the tokens of the build {tokens.key}: use a run that does")
    logbook = read_logbook(lake, run)
    launches = [record for record in logbook if record["event"] in ("launch", "resume")]
    notable = [record for record in logbook if record["event"] != "checkpoint"]
    checkpoints = _checkpoints(lake, run)
    origin = configuration.origin
    return Training(
        key=run,
        label=configuration.label,
        architecture=configuration.architecture,
        parameters=_parameters(checkpoints),
        configuration={"model": configuration.model, "training": configuration.training},
        seed=configuration.seed,
        origin="" if origin is None else f"{origin.run[:12]}@{origin.step}",
        steps_planned=configuration.steps,
        steps=tuple(read_losses(lake, run)),
        evaluations=tuple(map(_evaluation, read_evaluations(lake, run))),
        checkpoints=tuple(checkpoint.step for checkpoint in checkpoints),
        checkpoint_bytes=sum(file.bytes for checkpoint in checkpoints for file in checkpoint.kept),
        launches=len(launches),
        restarted_at=tuple(record["step"] for record in launches[1:]),
        errors=sum(record["event"] == "error" for record in logbook),
        events=tuple(_event(record) for record in notable[:EVENTS_KEPT]),
        events_left_out=max(len(notable) - EVENTS_KEPT, 0),
        began=logbook[0]["time"] if logbook else "",
        ended=logbook[-1]["time"] if logbook else "",
        torch=launches[-1].get("torch", "") if launches else "",
        usage=_usage(read_accounts(lake, run)),
    )


def _evaluation(record: dict[str, Any]) -> Evaluation:
    held_out = record["held_out"]
    return Evaluation(
        step=record["step"],
        perplexity=held_out["perplexity"],
        held_out_tokens=held_out["tokens"],
        sources=tuple(sorted((source, scores["perplexity"]) for source, scores in held_out["sources"].items())),
        scores=tuple(
            Score(task["name"], metric, value, task["standard_errors"].get(metric))
            for task in record["tasks"]
            for metric, value in sorted(task["metrics"].items())
        ),
        seconds=record["seconds"],
        libraries=tuple(sorted(record["identity"]["libraries"].items())),
    )


def _checkpoints(lake: Lake, run: str) -> list[Checkpoint]:
    found = []
    for step in committed_steps(lake, run):
        with contextlib.suppress(NotThere):  # deleted since the listing
            found.append(read_checkpoint(lake, run, step))
    return found


def _parameters(checkpoints: Sequence[Checkpoint]) -> int:
    """The number of parameters in the newest checkpoint."""
    slices = [part for file in checkpoints[-1].files for part in file.slices] if checkpoints else []
    return sum(math.prod(part.box.shape) for part in slices if part.kind == "weight")


def _usage(accounts: Sequence[Account]) -> Usage | None:
    """The accounts of all launches, None if there are none. `millrace cost` reports more detail."""
    if not accounts:
        return None
    meters = [[meter.joules for meter in account.energy] for account in accounts]
    metered = [
        sum(joule for joule in joules if joule is not None) for joules in meters if joules and None not in joules
    ]
    return Usage(
        devices=", ".join(sorted({account.device_name for account in accounts})),
        device_hours=sum(account.seconds * account.devices for account in accounts) / 3600,
        kilowatt_hours=sum(metered) / JOULES_OF_KILOWATT_HOUR if metered else None,
        unmetered=len(meters) - len(metered),
    )


def _event(record: dict[str, Any]) -> Event:
    known = {"number", "time", "launch", "rank", "event", "step"}
    facts = {name: value for name, value in record.items() if name not in known and value not in ("", None)}
    detail = ", ".join(
        f"{name} {json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value}"
        for name, value in sorted(facts.items())
    )
    return Event(record["time"], record["step"], record["event"], detail)
