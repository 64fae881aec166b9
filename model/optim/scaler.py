"""Dynamic loss scaling for fp16: the two state machines that the four systems trained with.

The loss is multiplied by the scale before the backward pass and the gradient divided by it after; a step whose gradient
overflowed is not applied (Micikevicius et al. 2018, section 3.2). Only the way to the next scale differs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from model.configuration import about, require, require_limits

FACTOR = 2.0  # of growth and of backing off, in both systems


class ScaleExhausted(RuntimeError):
    """The gradient overflows at the smallest scale: fp16 cannot hold it."""


@dataclass(frozen=True)
class ScalerConfig:
    """A loss scaler and its constants. The defaults are GPT-NeoX's (`configs/20B.yml`, "fp16")."""

    kind: Literal["deepspeed", "metaseq"] = field(
        default="deepspeed", metadata=about("Whose state machine adjusts the scale.")
    )
    initial: float = field(default=2.0**12, metadata=about("Loss scale of the first step.", gt=0))
    window: int = field(default=1000, metadata=about("Steps without overflow before the scale is doubled.", ge=1))
    hysteresis: int = field(
        default=2, metadata=about("Overflows before the scale is halved; always 1 for metaseq.", ge=1)
    )
    minimum: float = field(default=1.0, metadata=about("Smallest loss scale.", gt=0))

    def __post_init__(self) -> None:
        require(
            self.kind in ("deepspeed", "metaseq"), f"scaler: kind is {self.kind!r}; it must be 'deepspeed' or 'metaseq'"
        )
        require(
            math.isfinite(self.initial) and 0 < self.minimum <= self.initial,
            f"scaler: minimum {self.minimum} must be above 0 and not above initial {self.initial}, which is finite",
        )
        require_limits(self, "scaler")
        require(
            self.kind == "deepspeed" or self.hysteresis == 1,
            f"scaler: hysteresis is {self.hysteresis}; metaseq lowers the scale at every overflow, so it must be 1",
        )


class LossScaler:
    """The scale of the next step, moved on by one `update` for each step."""

    def __init__(self, config: ScalerConfig) -> None:
        self.config = config
        self.scale = config.initial
        self._window = config.window
        self._hysteresis = config.hysteresis
        # Steps from the last overflow to the next step, which counts; the run begins as if after one.
        self._distance = 1

    def update(self, overflow: bool) -> None:
        """Take note of a step, whose gradient did or did not overflow.

        Raises ScaleExhausted when DeepSpeed's machine is to go below its minimum; the state is then as it was.
        """
        if overflow:
            self._back_off()
            self._distance = 1
        else:
            self._grow()
            self._distance += 1

    def state(self) -> dict[str, Any]:
        """All that is needed to go on, as plain JSON."""
        return {
            "scale": self.scale,
            "window": self._window,
            "hysteresis": self._hysteresis,
            "distance": self._distance,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`. Raises ValueError when it is none."""
        require(
            set(state) == set(self.state()),
            f"scaler: the state has the entries {sorted(state)} where {sorted(self.state())} belong; "
            "the checkpoint was not written by a run with a loss scaler",
        )
        self.scale = float(state["scale"])
        self._window, self._hysteresis = int(state["window"]), int(state["hysteresis"])
        self._distance = int(state["distance"])

    def _back_off(self) -> None:
        if self.config.kind == "metaseq":
            self._window = max(self._window // 2, 1)
            # Below the floor the scale stays, and the steps that overflow go on being skipped.
            if self.scale / FACTOR >= self.config.minimum:
                self.scale /= FACTOR
        elif self._hysteresis > 1:
            self._hysteresis -= 1
        elif self.scale == self.config.minimum:
            raise ScaleExhausted(
                f"the gradient overflows at the smallest loss scale, {self.scale:g}; "
                "lower the learning rate, or train in bf16"
            )
        else:
            self.scale = max(self.scale / FACTOR, self.config.minimum)

    def _grow(self) -> None:
        if self.config.kind == "metaseq":
            if self._distance % self._window == 0:
                self.scale *= FACTOR
                self._window *= 2
        # `update_scale` of `deepspeed/runtime/fp16/loss_scaler.py` looks one step later than metaseq, and refills the
        # hysteresis nowhere else.
        elif self._distance > 1 and (self._distance - 1) % self._window == 0:
            self._hysteresis = self.config.hysteresis
            self.scale *= FACTOR
