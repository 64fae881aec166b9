"""Spikes: a declared policy that skips updates, turns a run back or slows it, decided from losses and norms alone.

A step is high when its loss or its gradient's norm is more than so many standard deviations above the mean of the last
ordinary steps (OLMo-core, `optim/skip_step_optimizer.py`: 128 steps, 6 deviations). Unlike there, high steps never
enter the statistics, so a loss that stays high is told from one that has settled. Turning back and leaving out the data
is PaLM's cure (Chowdhery et al. 2022, section 5.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from model.configuration import about, require, require_limits

Action = Literal["keep", "skip", "rollback", "lower", "fail"]


@dataclass(frozen=True)
class SpikePolicy:
    """What is done about spikes. It decides the result, so it is part of a run's identity; reproductions have none.

    A step is high above `deviations` standard deviations over the last `window` ordinary steps, of which half must be
    there first. With `skip` the update of a high step is left out. After `patience` high steps in a row the run goes
    back `rollback` checkpoints before the first of them and leaves out the data since, and the learning rate is
    multiplied by `lower`; with neither (0 and 1) it fails. A loss or norm that is not finite is skipped, or without
    `skip` treated as after `patience` steps. After `limit` rollbacks, lowered rates and steps that are not finite, the
    run fails.
    """

    deviations: float = field(
        default=6.0, metadata=about("A step is high this many standard deviations above the mean.", gt=0)
    )
    window: int = field(default=128, metadata=about("Ordinary steps over which mean and deviation are taken.", ge=4))
    skip: bool = field(default=True, metadata=about("Skip the update of a high step."))
    patience: int = field(
        default=16, metadata=about("High steps in a row before the run rolls back or lowers the learning rate.", ge=1)
    )
    rollback: int = field(
        default=0, metadata=about("Checkpoints to go back before the first high step; 0 for no rollback.", ge=0)
    )
    lower: float = field(
        default=1.0, metadata=about("Factor on the learning rate after patience runs out.", gt=0, le=1)
    )
    limit: int = field(default=8, metadata=about("Interventions before the run fails.", ge=1))

    def __post_init__(self) -> None:
        require_limits(self, "spikes")


@dataclass(frozen=True)
class Verdict:
    """What to do about a step; only `keep` applies its update. `cause` is "" for an ordinary step.

    `since` counts the steps before the first high one of those in a row, for `rollback_step`.
    """

    action: Action
    cause: str
    since: int


class SpikeJudge:
    """Judges the steps of a run one after the other. Without a policy it fails what is not finite and keeps the rest.

    All in fp64 with correctly rounded sums, so that ranks that see the same numbers give the same verdict.
    """

    def __init__(self, policy: SpikePolicy | None) -> None:
        self.policy = policy
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._in_a_row = 0
        # The steps before the first high one of those in a row.
        self._since = 0
        self._not_finite = 0

    def judge(self, step: int, loss: float, norm: float, interventions: int = 0) -> Verdict:
        """The verdict on the update after `step` others: its loss in nats and its gradient's norm before clipping.

        `interventions` counts the recorded rollbacks and lowered rates (`Course.interventions`). A step whose fp16
        gradient overflowed is the scaler's and is not judged; it neither ends nor lengthens a row of high ones.
        """
        finite = math.isfinite(loss) and math.isfinite(norm)
        cause = self._cause(loss, norm) if finite else f"loss {loss:.6g} and gradient norm {norm:.6g} are not finite"
        if not cause:
            self._remember(loss, norm)
            return Verdict("keep", "", step)
        if not self._in_a_row:
            self._since = step
        self._in_a_row += 1
        if self._in_a_row > 1:
            cause += f"; high for {self._in_a_row} steps"
        action = self._action(finite)
        acts = not finite or action in ("rollback", "lower")
        if self.policy is not None and acts and interventions + self._not_finite >= self.policy.limit:
            action = "fail"
            cause += f"; the policy has acted {self.policy.limit} times, which is its limit"
        self._not_finite += not finite
        if action == "lower":
            self._in_a_row = 0
        return Verdict(action, cause, self._since)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on, as plain JSON."""
        return {
            "losses": list(self._losses),
            "norms": list(self._norms),
            "in_a_row": self._in_a_row,
            "since": self._since,
            "not_finite": self._not_finite,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`. Raises ValueError when it is none."""
        require(
            set(state) == set(self.state()),
            f"spikes: the state has the entries {sorted(state)} where {sorted(self.state())} belong; "
            "the checkpoint was not written by a run that judges its steps",
        )
        self._losses, self._norms = list(map(float, state["losses"])), list(map(float, state["norms"]))
        self._in_a_row, self._since = int(state["in_a_row"]), int(state["since"])
        self._not_finite = int(state["not_finite"])

    def _cause(self, loss: float, norm: float) -> str:
        if self.policy is None or len(self._losses) < self.policy.window // 2:
            return ""
        for name, value, history in (("loss", loss, self._losses), ("gradient norm", norm, self._norms)):
            mean, deviation = _mean_and_deviation(history)
            if value - mean > self.policy.deviations * deviation:
                return (
                    f"{name} {value:.6g} is more than {self.policy.deviations:g} standard deviations of "
                    f"{deviation:.6g} above the mean {mean:.6g} of {len(history)} steps"
                )
        return ""

    def _action(self, finite: bool) -> Action:
        if self.policy is None:
            return "fail"
        if self._in_a_row >= self.policy.patience or not (finite or self.policy.skip):
            return "rollback" if self.policy.rollback else "lower" if self.policy.lower < 1 else "fail"
        return "skip" if self.policy.skip else "keep"

    def _remember(self, loss: float, norm: float) -> None:
        self._in_a_row = 0
        if self.policy is not None:
            self._losses = [*self._losses, loss][-self.policy.window :]
            self._norms = [*self._norms, norm][-self.policy.window :]


def rollback_step(checkpoints: Sequence[int], since: int, back: int) -> int | None:
    """The step of the checkpoint `back` checkpoints before a spike that began after `since` steps.

    That is the `back`-th newest of those up to `since`, or the oldest of them when there are fewer; None without any.
    `checkpoints` are the steps whose whole state is kept, ascending.
    """
    before = [step for step in checkpoints if step <= since]
    return before[-min(back, len(before))] if before else None


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1 below, as `torch.std_mean`)."""
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
