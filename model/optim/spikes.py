"""Loss spikes: a policy skips updates, rolls a run back or lowers the learning rate, given only losses and norms.

A step is high when its loss or gradient norm is a given number of standard deviations above the mean of the last
ordinary steps (OLMo-core, `optim/skip_step_optimizer.py`: 128 steps, 6 deviations). Unlike in OLMo-core, high steps
never enter the statistics, so a loss that stays high is never taken for one that has settled. Rolling back and skipping
the data follows PaLM (Chowdhery et al. 2022, section 5.1).
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
    """The reaction to spikes. It affects the result, so it is part of a run's identity; reproductions have none.

    A step is high if it is more than `deviations` standard deviations above the mean of the last `window` ordinary
    steps; at least half of them are needed. `skip` skips the update of a high step. After `patience` high steps in a
    row the run returns to `rollback` checkpoints before the first of them, skips the data since, and multiplies the
    learning rate by `lower`; with neither (0 and 1) it fails. The update of a step that is not finite is skipped;
    without `skip`, the run reacts at once as after `patience` steps. The run fails after `limit` interventions:
    rollbacks, lowered learning rates and steps that are not finite.
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
    """The decision about a step; only `keep` applies its update. `cause` is "" for an ordinary step.

    `since` is the number of steps before the first of the consecutive high steps, for `rollback_step`.
    """

    action: Action
    cause: str
    since: int


class SpikeJudge:
    """Judges the steps of a run in order. Without a policy, steps that are not finite fail and all others are kept.

    Uses fp64 with correctly rounded sums, so that ranks with the same numbers reach the same verdict.
    """

    def __init__(self, policy: SpikePolicy | None) -> None:
        self.policy = policy
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._in_a_row = 0
        # The number of steps before the first of the consecutive high steps.
        self._since = 0
        self._not_finite = 0

    def judge(self, step: int, loss: float, norm: float, interventions: int = 0) -> Verdict:
        """The verdict on update `step` (0-based), given its loss in nats and its gradient norm before clipping.

        `interventions` counts the recorded rollbacks and lowered learning rates (`Course.interventions`). Steps whose
        fp16 gradient overflowed are left to the scaler and not judged; they neither end nor extend a row of high steps.
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
        """The state needed to resume, as plain JSON."""
        return {
            "losses": list(self._losses),
            "norms": list(self._norms),
            "in_a_row": self._in_a_row,
            "since": self._since,
            "not_finite": self._not_finite,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a `state()`. Raises ValueError when its entries differ."""
        require(
            set(state) == set(self.state()),
            f"spikes: the state has the entries {sorted(state)}, not {sorted(self.state())}; use a checkpoint of a run "
            "that judges its steps",
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

    This is the `back`-th newest checkpoint up to `since`, or the oldest when there are fewer; None when there is none.
    `checkpoints` are the steps whose full state is stored, ascending.
    """
    before = [step for step in checkpoints if step <= since]
    return before[-min(back, len(before))] if before else None


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1 below, as `torch.std_mean`)."""
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
