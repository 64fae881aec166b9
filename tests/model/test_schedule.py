"""Schedules against the figures of the papers."""

from __future__ import annotations

import math

import pytest

from model.configuration import from_plain
from model.presets import preset, preset_names
from model.run import TrainingConfig
from model.schedule import CheckpointSchedule, CosineSchedule


def test_pythia_keeps_154_checkpoints() -> None:
    steps = CheckpointSchedule("pythia", 1000).steps(143_000)
    assert len(steps) == 154
    assert steps[:13] == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000] and steps[-1] == 143_000


def test_the_last_step_is_kept() -> None:
    assert CheckpointSchedule("every", 4).steps(10) == [0, 4, 8, 10]


def test_cosine_of_pythia_70m() -> None:
    schedule = CosineSchedule(**preset("pythia-70m")["training"]["schedule"])
    assert schedule.warmup == 0.01 * 143_000
    assert schedule.at(0) == schedule.at(1) == 1e-3 / 1430, "the first update has the rate of the second"
    assert schedule.at(1430) == 1e-3, "warm-up includes its last update"
    middle = (1430 + 143_000) // 2
    assert schedule.at(middle) == pytest.approx((1e-3 + 1e-4) / 2, rel=1e-12)
    quarter = 1430 + (143_000 - 1430) / 4
    assert schedule.at(int(quarter)) == pytest.approx(1e-4 + 9e-4 / 2 * (math.cos(math.pi / 4) + 1), rel=1e-4)
    assert schedule.at(143_000) == schedule.at(150_000) == 1e-4
    rates = [schedule.at(update) for update in range(1430, 143_001, 500)]
    assert rates == sorted(rates, reverse=True)


def test_without_warm_up() -> None:
    schedule = CosineSchedule(1.0, 0.0, 0, 10)
    assert (schedule.at(0), schedule.at(5)) == (1.0, pytest.approx(0.5))


@pytest.mark.parametrize("name", ["pythia-14m", "pythia-70m", "llama-7b"])
def test_presets_agree_with_themselves(name: str) -> None:
    training = preset(name)["training"]
    schedule = CosineSchedule(**training["schedule"])
    assert schedule.decay == training["steps"] and schedule.minimum == pytest.approx(schedule.learning_rate / 10)
    tokens = training["steps"] * training["batch"] * training["sequence_length"]
    published = {"pythia": 299_892_736_000, "llama": 10**12}[name.split("-")[0]]
    assert tokens == pytest.approx(published, rel=1e-5)


@pytest.mark.parametrize("bad", [(0.0, 0.0, 1, 2), (1.0, 2.0, 1, 2), (1.0, 0.1, 2, 2), (1.0, -0.1, 1, 2)])
def test_bad_schedules_are_refused(bad: tuple[float, float, int, int]) -> None:
    with pytest.raises(ValueError, match="schedule"):
        CosineSchedule(*bad)
    with pytest.raises(ValueError, match="checkpoints"):
        CheckpointSchedule("every", 0)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_can_be_trained(name: str) -> None:
    training = from_plain(TrainingConfig, preset(name)["training"], "training")
    assert training.schedule.decay == training.steps and training.threads == 1
