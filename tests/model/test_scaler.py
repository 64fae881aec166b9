"""Loss scalers in lock-step with DeepSpeed's own class, and with metaseq's rules written out by hand."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from model.configuration import from_plain, to_plain
from model.optim.scaler import LossScaler, ScaleExhausted, ScalerConfig
from tests.model.support.scalers import NEOX_SCALER, OPT_SCALER


@pytest.fixture
def deepspeed_scaler(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A maker of DeepSpeed's scaler, which asks for its rank to log an overflow."""
    from deepspeed.runtime.fp16 import loss_scaler

    monkeypatch.setattr(loss_scaler.dist, "get_rank", lambda: 1)

    def make(config: ScalerConfig) -> Any:
        return loss_scaler.DynamicLossScaler(
            init_scale=config.initial,
            scale_window=config.window,
            min_scale=config.minimum,
            delayed_shift=config.hysteresis,
            consecutive_hysteresis=False,
        )

    return make


def metaseq_trace(config: ScalerConfig, overflows: list[bool]) -> list[tuple[float, int]]:
    """Scale and window after each step, looking back over the whole history each time."""
    trace: list[tuple[float, int]] = []
    constant = config.kind == "metaseq_until_2022_05"
    scale, window = config.initial, config.window
    for step, overflow in enumerate(overflows):
        if overflow:
            window = window if constant else window // 2 or 1
            scale = scale / 2 if scale / 2 >= config.minimum else scale
        else:
            before = [index for index in range(step) if overflows[index]]
            good_steps = step - (before[-1] if before else -1)
            if good_steps % window == 0:
                scale, window = scale * 2, window if constant else window * 2
        trace.append((scale, window))
    return trace


def scales_after(scaler: LossScaler, overflows: list[bool]) -> list[float]:
    scales = []
    for overflow in overflows:
        scaler.update(overflow)
        scales.append(scaler.scale)
    return scales


def patterns(count: int, length: int) -> list[list[bool]]:
    """Overflow patterns of every density, some in bursts."""
    draw = random.Random(0)
    made = []
    for _ in range(count):
        density, burst = draw.choice([0.0, 0.02, 0.1, 0.3, 0.7]), draw.choice([1, 1, 4])
        pattern: list[bool] = []
        while len(pattern) < length:
            pattern += [draw.random() < density] * draw.randint(1, burst)
        made.append(pattern[:length])
    return made


def test_constants_are_the_published_ones() -> None:
    assert to_plain(NEOX_SCALER) == {
        "kind": "deepspeed",
        "initial": 4096.0,
        "window": 1000,
        "hysteresis": 2,
        "minimum": 1.0,
    }
    assert to_plain(OPT_SCALER) == {
        "kind": "metaseq",
        "initial": 4.0,
        "window": 256,
        "hysteresis": 1,
        "minimum": 0.03125,
    }
    assert from_plain(ScalerConfig, to_plain(OPT_SCALER), "scaler") == OPT_SCALER


def test_in_lock_step_with_deepspeed(deepspeed_scaler: Any) -> None:
    """Scale, hysteresis and the error at the minimum, for 3,000 patterns of 120 steps."""
    draw = random.Random(1)
    exhausted = doublings = 0
    for pattern in patterns(3000, 120):
        config = ScalerConfig(
            initial=draw.choice([3.0, 4.0, 64.0, 2.0**16]),
            window=draw.choice([1, 2, 5, 17]),
            hysteresis=draw.choice([1, 2, 3]),
            minimum=draw.choice([0.25, 1.0, 3.0]),
        )
        ours, theirs = LossScaler(config), deepspeed_scaler(config)
        for overflow in pattern:
            before = ours.scale
            try:
                ours.update(overflow)
            except ScaleExhausted:
                with pytest.raises(Exception, match="already at minimum"):
                    theirs.update_scale(overflow)
                exhausted += 1
                break
            theirs.update_scale(overflow)
            assert ours.scale == theirs.cur_scale
            state = ours.state()
            assert state["hysteresis"] == theirs.cur_hysteresis
            assert state["distance"] == theirs.cur_iter - theirs.last_overflow_iter
            doublings += ours.scale > before
    assert exhausted > 300 and doublings > 1000


def test_deepspeed_doubles_first_at_the_1001st_good_step(deepspeed_scaler: Any) -> None:
    scales = scales_after(LossScaler(NEOX_SCALER), [False] * 2001)
    theirs = deepspeed_scaler(NEOX_SCALER)
    assert scales[999] == 4096 and scales[1000] == 8192 and scales[1999] == 8192 and scales[2000] == 16384
    for scale in scales:
        theirs.update_scale(False)
        assert theirs.cur_scale == scale


def test_deepspeed_refills_the_hysteresis_only_at_growth() -> None:
    scaler = LossScaler(ScalerConfig(initial=64.0, window=3, hysteresis=2))
    table = [
        # overflow, scale after, hysteresis after
        (True, 64, 1),
        (False, 64, 1),
        (True, 32, 1),  # good steps in between did not refill it
        (True, 16, 1),
        (False, 16, 1),
        (False, 16, 1),
        (False, 16, 1),
        (False, 32, 2),  # the fourth good step is the first with three behind it
        (True, 32, 1),
        (True, 16, 1),
    ]
    for overflow, scale, hysteresis in table:
        scaler.update(overflow)
        assert (scaler.scale, scaler.state()["hysteresis"]) == (scale, hysteresis)


def test_deepspeed_fails_at_the_minimum_and_keeps_its_state() -> None:
    scaler = LossScaler(ScalerConfig(initial=2.0, hysteresis=2))
    assert scales_after(scaler, [True, True]) == [2.0, 1.0]
    state = scaler.state()
    with pytest.raises(ScaleExhausted, match="smallest loss scale, 1; lower the learning rate"):
        scaler.update(True)
    assert scaler.state() == state


def test_metaseq_by_hand() -> None:
    scaler = LossScaler(ScalerConfig("metaseq", initial=0.125, window=4, hysteresis=1, minimum=2.0**-5))
    table = [
        # overflow, scale after, window after
        (False, 0.125, 4),
        (False, 0.125, 4),
        (False, 0.125, 4),
        (False, 0.25, 8),  # the fourth good step, and not the fifth
        (False, 0.25, 8),
        (True, 0.125, 4),
        (True, 0.0625, 2),
        (False, 0.0625, 2),
        (False, 0.125, 4),
        (True, 0.0625, 2),
        (True, 0.03125, 1),
        (True, 0.03125, 1),  # below the floor: reverted, and still skipping
        (True, 0.03125, 1),
        (False, 0.0625, 2),
        (False, 0.125, 4),
        (False, 0.125, 4),
        (False, 0.25, 8),
    ]
    for overflow, scale, window in table:
        scaler.update(overflow)
        assert (scaler.scale, scaler.state()["window"]) == (scale, window)


def test_opt_grows_at_256_and_then_at_each_doubling() -> None:
    scales = [4.0, *scales_after(LossScaler(OPT_SCALER), [False] * 2048)]
    assert [step for step in range(1, 2049) if scales[step] > scales[step - 1]] == [256, 512, 1024, 2048]


def test_the_window_of_opts_first_release_is_constant() -> None:
    """`dynamic_loss_scaler.py` of metaseq's first commit: `(iter - last overflow) % window`, and a threshold."""
    scaler = LossScaler(ScalerConfig("metaseq_until_2022_05", initial=4.0, window=4, hysteresis=1, minimum=0.25))
    pattern = [False] * 8 + [True] * 8 + [False] * 9
    scales = scales_after(scaler, pattern)
    assert scales[:8] == [4.0] * 3 + [8.0] * 4 + [16.0]
    assert scales[8:16] == [8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.25, 0.25]
    assert scales[16:] == [0.25] * 3 + [0.5] * 4 + [1.0] * 2
    # With the later rules, the second doubling would take twice as long.
    assert scales_after(LossScaler(ScalerConfig("metaseq", 4.0, 4, 1, 0.25)), pattern)[7] == 16.0


@pytest.mark.parametrize("kind", ["metaseq", "metaseq_until_2022_05"])
def test_metaseq_equals_its_rules_looked_up_in_the_whole_history(kind: Any) -> None:
    draw = random.Random(2)
    for pattern in patterns(1000, 120):
        config = ScalerConfig(kind, draw.choice([1.0, 4.0, 2.0**15]), draw.choice([1, 3, 8, 16]), 1, 2.0**-5)
        scaler = LossScaler(config)
        for overflow, expected in zip(pattern, metaseq_trace(config, pattern), strict=True):
            scaler.update(overflow)
            assert (scaler.scale, scaler.state()["window"]) == expected


@pytest.mark.parametrize("config", [ScalerConfig(window=5, minimum=2.0**-60), OPT_SCALER], ids=["deepspeed", "metaseq"])
def test_a_scaler_loaded_anywhere_goes_on_alike(config: ScalerConfig) -> None:
    pattern = [step in (3, 17, 18, 40) for step in range(60)]
    for cut in range(60):
        first = LossScaler(config)
        scales_after(first, pattern[:cut])
        second = LossScaler(config)
        second.load(json.loads(json.dumps(first.state())))
        assert scales_after(second, pattern[cut:]) == scales_after(first, pattern[cut:])


def test_a_state_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"entries \['scale'\]"):
        LossScaler(NEOX_SCALER).load({"scale": 1.0})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "apex"}, "kind is 'apex'"),
        ({"initial": 0.5}, "minimum 1.0 must be above 0 and at most initial 0.5"),
        ({"initial": float("inf")}, "finite"),
        ({"minimum": 0.0}, "minimum 0.0"),
        ({"window": 0}, "window is 0"),
        ({"hysteresis": 0}, "hysteresis is 0"),
        ({"kind": "metaseq"}, "hysteresis is 2; metaseq"),
    ],
)
def test_bad_values_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScalerConfig(**values)
