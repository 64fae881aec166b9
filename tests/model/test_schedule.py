"""Schedules against values of 40 decimal digits, the papers' own figures, and transformers' schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import optimization

from model.optim.schedule import CheckpointSchedule, Schedule
from model.presets import preset

# GPT-NeoX's: what `AnnealingLR` of gpt-neox 3a4af67c (March 2023) gave when it was run. The others: the formulas worked
# out with 40 decimal digits by mpmath. Preset -> updates made -> rate of the next one.
GOLDEN = {
    "pythia-70m": {
        0: 0.0,
        1: 6.993006993006994e-07,
        2: 1.3986013986013987e-06,
        715: 0.0005,
        1430: 0.001,
        1431: 0.0009999999998793387,
        10_000: 0.0009911641965803597,
        50_000: 0.0007413579850981182,
        71_500: 0.000515705379539064,
        100_000: 0.00021986750263500399,
        114_400: 0.00010492249381215479,
        115_000: 0.00010091741357077516,
        141_570: 0.0001,
        143_000: 0.0001,
        200_000: 0.0001,
    },
    "neox-20b": {
        0: 0.0,
        750: 4.85e-05,
        1501: 9.699999998936276e-05,
        10_000: 9.623348698650822e-05,
        75_000: 5.002342181528922e-05,
        115_000: 1.3494628937229435e-05,
        120_000: 1.0177481899779015e-05,
        148_500: 9.7e-06,
        150_000: 9.7e-06,
    },
    "llama-7b": {
        0: 1.5e-7,
        1000: 0.00015,
        2000: 0.0003,
        2001: 0.00029999999998808093,
        60_000: 0.00026185013440097187,
        120_209: 0.000165,
        238_417: 3.0000000011919072e-5,
        238_418: 0.00003,
    },
    "opt-125m": {
        0: 0.0,
        1: 0.0006 / 715,
        715: 0.0006,
        716: 0.00059999905509992318,
        100_000: 0.00050618559587323641,
        500_000: 0.00012822556514648576,
        572_203: 6.0000944900076817e-5,
        572_204: 0.00006,
        600_000: 0.00006,
    },
    "opt-175b": {0: 0.0, 1: 6e-8, 2000: 0.00012, 2001: 0.00011999923431950146, 100_000: 4.4963311142778144e-5},
}


# The corrected cosine with Pythia 70M's numbers, by mpmath.
CORRECTED = {
    0: 0.001 / 1430,
    1: 0.001 / 1430,
    2: 0.002 / 1430,
    715: 0.0005,
    1430: 0.001,
    1431: 0.00099999999988919999,
    10_000: 0.00099188680149982937,
    50_000: 0.00076296196198992074,
    72_215: 0.00055,
    100_000: 0.00028978846751101177,
    142_999: 0.00010000000011080001,
    143_000: 0.0001,
    200_000: 0.0001,
}


def published(name: str) -> Schedule:
    return Schedule(**preset(name)["training"]["schedule"])


@pytest.mark.parametrize("name", GOLDEN)
def test_rates_of_published_runs(name: str) -> None:
    schedule = published(name)
    assert {updates: schedule.at(updates) for updates in GOLDEN[name]} == pytest.approx(GOLDEN[name], rel=1e-13)


def test_the_corrected_cosine_is_for_new_runs() -> None:
    ran = published("pythia-70m")
    cosine = Schedule("cosine", ran.learning_rate, ran.minimum, ran.warmup, ran.decay)
    assert {updates: cosine.at(updates) for updates in CORRECTED} == pytest.approx(CORRECTED, rel=1e-13)
    # What docs/presets.md says of the difference.
    assert [round(100 * (cosine.at(at) / ran.at(at) - 1)) for at in (71_500, 114_400)] == [8, 79]


def test_the_first_update_differs_between_the_systems() -> None:
    """GPT-NeoX clamps step 0 to step 1 today; it did not before, and metaseq does not. Then all warm up alike."""
    cosine, linear, constant = (Schedule(kind, 1e-3, 1e-4, 8, 100) for kind in ("cosine", "linear", "constant"))
    assert cosine.at(0) == constant.at(0) == cosine.at(1) == 1e-3 / 8
    before = Schedule("neox_until_2023_08", 1e-3, 1e-4, 8, 100)
    assert linear.at(0) == before.at(0) == 0.0
    for updates in range(1, 9):
        assert (
            cosine.at(updates) == linear.at(updates) == constant.at(updates) == before.at(updates) == 1e-3 * updates / 8
        )
    assert constant.at(9) == constant.at(1000) == 1e-3 > cosine.at(9) > linear.at(9)


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
def test_without_warm_up_the_run_starts_at_the_peak(kind: str) -> None:
    schedule = Schedule(kind, 1.0, 0.0, 0, 10)  # type: ignore[arg-type]
    assert schedule.at(0) == 1.0
    assert schedule.at(5) == pytest.approx(1.0 if kind == "constant" else 0.5)


@pytest.mark.parametrize("kind", ["cosine", "neox_until_2023_08", "linear"])
def test_rates_fall_to_the_minimum_and_stay(kind: str) -> None:
    schedule = Schedule(kind, 9.7e-5, 9.7e-6, 1500, 150_000)  # type: ignore[arg-type]
    rates = [schedule.at(updates) for updates in range(1500, 160_000, 250)]
    assert rates == sorted(rates, reverse=True) and min(rates) == schedule.at(150_000) == 9.7e-6


def theirs(schedule: Schedule) -> Callable[[int], float]:
    """The rate after so many updates by transformers' schedule of the same shape."""
    optimizer: Any = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=schedule.learning_rate)
    shape = {"num_warmup_steps": schedule.warmup, "num_training_steps": schedule.decay}
    if schedule.kind == "cosine":
        made = optimization.get_cosine_with_min_lr_schedule_with_warmup(optimizer, **shape, min_lr=schedule.minimum)
    elif schedule.kind == "constant":
        made = optimization.get_constant_schedule_with_warmup(optimizer, schedule.warmup)
    elif schedule.minimum == 0:
        made = optimization.get_linear_schedule_with_warmup(optimizer, **shape)
    else:
        made = optimization.get_polynomial_decay_schedule_with_warmup(
            optimizer, **shape, lr_end=schedule.minimum, power=1.0
        )
    return lambda updates: schedule.learning_rate * made.lr_lambdas[0](updates)


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule("cosine", 6e-4, 6e-5, 40, 1000),
        Schedule("linear", 6e-4, 6e-5, 40, 1000),
        Schedule("linear", 6e-4, 0.0, 40, 1000),
        Schedule("constant", 6e-4, 6e-5, 40, 1000),
    ],
)
def test_rates_equal_transformers(schedule: Schedule) -> None:
    reference = theirs(schedule)
    first = 0 if schedule.kind == "linear" else 1  # transformers starts every kind at 0
    for updates in range(first, schedule.decay + 1):
        assert schedule.at(updates) == pytest.approx(reference(updates), rel=1e-9, abs=1e-18)
    assert reference(0) == 0.0 and schedule.at(0) == (0.0 if first == 0 else 6e-4 / 40)


def test_the_comparison_can_tell_schedules_apart() -> None:
    cosine, linear = (Schedule(kind, 6e-4, 6e-5, 40, 1000) for kind in ("cosine", "linear"))
    assert cosine.at(200) != pytest.approx(theirs(linear)(200), rel=1e-3)
    assert Schedule("cosine", 6e-4, 6e-5, 41, 1000).at(200) != pytest.approx(theirs(cosine)(200), rel=1e-4)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (("exponential", 1.0, 0.1, 1, 2), "must be 'cosine', 'neox_until_2023_08', 'linear' or 'constant'"),
        (("cosine", 0.0, 0.0, 1, 2), "above 0"),
        (("cosine", 1.0, 2.0, 1, 2), "between 0 and learning_rate"),
        (("linear", 1.0, -0.1, 1, 2), "minimum is -0.1; it must be at least 0"),
        (("linear", 1.0, 0.1, 2, 2), "below decay 2"),
        (("constant", 1.0, 0.1, -1, 2), "at least 0"),
    ],
)
def test_bad_schedules_are_refused(bad: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"schedule: .*{message}"):
        Schedule(*bad)


def test_pythia_keeps_154_checkpoints() -> None:
    steps = CheckpointSchedule("pythia", 1000).steps(143_000)
    assert len(steps) == 154
    assert steps == sorted({0, *(2**power for power in range(10)), *range(1000, 143_001, 1000)})


def test_the_last_step_is_kept() -> None:
    assert CheckpointSchedule("every", 4).steps(10) == [0, 4, 8, 10]


def test_bad_checkpoint_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="every is 0; it must be at least 1"):
        CheckpointSchedule("every", 0)
    with pytest.raises(ValueError, match="it must be 'every' or 'pythia'"):
        CheckpointSchedule("never", 1)  # type: ignore[arg-type]
