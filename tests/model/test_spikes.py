"""The spike policy: its statistics against torch, its actions by hand, and its state."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
import torch

from model.configuration import from_plain, to_plain
from model.optim.spikes import SpikeJudge, SpikePolicy, Verdict, rollback_step

CALM = [3.0, 3.2, 2.9, 3.1]


def calm_judge(policy: SpikePolicy) -> SpikeJudge:
    """A judge that has seen four ordinary steps: losses about 3, norms a tenth of them."""
    judge = SpikeJudge(policy)
    for step, loss in enumerate(CALM):
        assert judge.judge(step, loss, loss / 10).action == "keep"
    return judge


def actions(judge: SpikeJudge, losses: list[float], first: int = 4, interventions: int = 0) -> list[str]:
    return [judge.judge(first + index, loss, 0.3, interventions).action for index, loss in enumerate(losses)]


def noisy(seed: int, steps: int) -> list[tuple[float, float]]:
    """Losses and norms with a spike every thirty steps or so."""
    draw = random.Random(seed)
    pairs = []
    for step in range(steps):
        jump = draw.choice([0.0] * 28 + [0.4, 4.0])
        loss = 2 + 5 / (1 + step / 50) + draw.gauss(0, 0.05) + jump
        pairs.append((loss, 0.5 + draw.gauss(0, 0.05) + draw.choice([0.0] * 28 + [1.0])))
    return pairs


def test_the_defaults_are_those_of_olmo_core() -> None:
    policy = SpikePolicy()
    assert (policy.window, policy.deviations) == (128, 6.0)
    assert from_plain(SpikePolicy, to_plain(policy), "spikes") == policy


def test_high_steps_are_those_that_torch_statistics_give() -> None:
    policy = SpikePolicy(window=16, deviations=3.0, patience=1000)
    judge, skipped = SpikeJudge(policy), 0
    losses: list[float] = []
    norms: list[float] = []
    for step, (loss, norm) in enumerate(noisy(0, 1500)):
        high = False
        if len(losses) >= 8:
            for value, history in ((loss, losses), (norm, norms)):
                deviation, mean = torch.std_mean(torch.tensor(history[-16:], dtype=torch.float64))
                high |= value > mean.item() + 3.0 * deviation.item()
        verdict = judge.judge(step, loss, norm)
        assert verdict.action == ("skip" if high else "keep")
        skipped += high
        if not high:
            losses.append(loss)
            norms.append(norm)
    assert skipped > 50


def test_a_spike_is_skipped_and_says_why() -> None:
    judge = calm_judge(SpikePolicy(window=8))
    verdict = judge.judge(4, 9.0, 0.3)
    assert verdict.action == "skip" and verdict.since == 4
    assert verdict.cause == "loss 9 is more than 6 standard deviations of 0.129099 above the mean 3.05 of 4 steps"
    assert "gradient norm 2 is more than" in judge.judge(5, 3.0, 2.0).cause
    assert judge.judge(6, 3.0, 0.3) == Verdict("keep", "", 6)
    # A loss far below the mean is no spike.
    assert judge.judge(7, 0.1, 0.3).action == "keep"


def test_the_statistics_must_be_there_before_a_step_is_judged() -> None:
    judge = SpikeJudge(SpikePolicy(window=8))
    assert actions(judge, [3.0, 3.1, 900.0, 3.0, 3.1], first=0) == ["keep"] * 5


def test_high_steps_never_enter_the_statistics() -> None:
    skipping = calm_judge(SpikePolicy(window=8, patience=100))
    keeping = calm_judge(SpikePolicy(window=8, patience=100, skip=False))
    assert actions(skipping, [9.0] * 50) == ["skip"] * 50
    assert actions(keeping, [9.0] * 50) == ["keep"] * 50
    assert skipping.state()["losses"] == keeping.state()["losses"] == CALM


def test_a_loss_that_stays_high_turns_the_run_back() -> None:
    judge = calm_judge(SpikePolicy(window=8, patience=3, rollback=2, lower=0.5))
    assert actions(judge, [9.0, 9.0, 3.0, 9.0, 9.0]) == ["skip", "skip", "keep", "skip", "skip"]
    verdict = judge.judge(9, 9.0, 0.3)
    assert verdict.action == "rollback" and verdict.since == 7
    assert verdict.cause.endswith("; high for 3 steps")


def test_an_overflow_between_high_steps_does_not_move_where_the_spike_began() -> None:
    """fp16's overflows are the scaler's and are not judged: step 5 here."""
    judge = calm_judge(SpikePolicy(window=8, patience=3, rollback=1))
    assert [judge.judge(step, 9.0, 0.3).since for step in (4, 6, 7)] == [4, 4, 4]
    again = SpikeJudge(judge.policy)
    again.load(judge.state())
    assert again.judge(8, 9.0, 0.3).since == 4


def test_a_loss_that_stays_high_lowers_the_rate_each_time() -> None:
    judge = calm_judge(SpikePolicy(window=8, patience=2, lower=0.5))
    assert actions(judge, [9.0] * 5) == ["skip", "lower", "skip", "lower", "skip"]


def test_a_loss_that_stays_high_fails_where_nothing_else_is_declared() -> None:
    assert actions(calm_judge(SpikePolicy(window=8, patience=3)), [9.0] * 3) == ["skip", "skip", "fail"]


def test_recorded_interventions_reach_the_limit() -> None:
    policy = SpikePolicy(window=8, patience=1, rollback=1, limit=3)
    assert calm_judge(policy).judge(4, 9.0, 0.3, 2).action == "rollback"
    verdict = calm_judge(policy).judge(4, 9.0, 0.3, 3)
    assert verdict.action == "fail" and "acted 3 times, which is its limit" in verdict.cause


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite(wrong: float) -> None:
    for loss, norm in ((wrong, 0.3), (3.0, wrong)):
        assert SpikeJudge(None).judge(4, loss, norm).action == "fail"
        assert calm_judge(SpikePolicy(window=8)).judge(4, loss, norm).action == "skip"
        assert calm_judge(SpikePolicy(window=8, skip=False, rollback=1)).judge(4, loss, norm).action == "rollback"
        assert calm_judge(SpikePolicy(window=8, skip=False, lower=0.5)).judge(4, loss, norm).action == "lower"
        assert calm_judge(SpikePolicy(window=8, skip=False)).judge(4, loss, norm).action == "fail"


def test_steps_that_are_not_finite_are_skipped_up_to_the_limit() -> None:
    judge = calm_judge(SpikePolicy(window=8, limit=2))
    assert actions(judge, [math.nan, 3.0, math.nan, 3.0]) == ["skip", "keep", "skip", "keep"]
    assert judge.judge(8, math.nan, 0.3).action == "fail"
    assert actions(calm_judge(SpikePolicy(window=8, limit=2)), [math.nan, math.nan], interventions=1) == [
        "skip",
        "fail",
    ]


def test_without_a_policy_every_finite_step_is_kept() -> None:
    judge = SpikeJudge(None)
    assert {judge.judge(step, loss, norm).action for step, (loss, norm) in enumerate(noisy(1, 300))} == {"keep"}
    assert judge.state()["losses"] == []


@pytest.mark.parametrize("skip", [True, False])
def test_a_judge_loaded_anywhere_goes_on_alike(skip: bool) -> None:
    policy = SpikePolicy(window=8, deviations=2.0, skip=skip, patience=3, lower=0.9, limit=10**6)
    steps = noisy(2, 120)
    for cut in range(0, 120, 7):
        first = SpikeJudge(policy)
        for step in range(cut):
            first.judge(step, *steps[step])
        second = SpikeJudge(policy)
        second.load(json.loads(json.dumps(first.state())))
        rest = [first.judge(step, *steps[step]) for step in range(cut, 120)]
        assert rest == [second.judge(step, *steps[step]) for step in range(cut, 120)]


def test_a_state_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"entries \['losses'\]"):
        SpikeJudge(None).load({"losses": []})


def test_the_checkpoint_to_go_back_to_is_before_the_spike() -> None:
    steps = [0, 10, 20, 30, 40]
    assert rollback_step(steps, 35, 1) == 30
    assert rollback_step(steps, 30, 1) == 30  # written before the first high step's update
    assert rollback_step(steps, 35, 3) == 10
    assert rollback_step(steps, 15, 9) == 0
    assert rollback_step([20, 30], 15, 1) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"deviations": 0.0}, "deviations is 0.0"),
        ({"window": 3}, "window is 3"),
        ({"patience": 0}, "patience is 0"),
        ({"rollback": -1}, "rollback is -1"),
        ({"lower": 1.5}, "lower is 1.5"),
        ({"limit": 0}, "limit is 0"),
    ],
)
def test_bad_values_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpikePolicy(**values)
