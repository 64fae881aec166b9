"""Dynamic loss scaling for fp16: the three state machines with which the four systems were trained.

The loss is multiplied by the scale before the backward pass and the gradient divided by it after; a step whose gradient
overflowed is not applied (Micikevicius et al. 2018, section 3.2). They differ only in how they update the scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from model.configuration import about, require, require_limits

KINDS = ("deepspeed", "metaseq", "metaseq_until_2022_05")
FACTOR = 2.0  # of growth and backoff, in all


class ScaleExhausted(RuntimeError):
    """The gradient overflows at the smallest scale: fp16 cannot hold it."""


@dataclass(frozen=True)
class ScalerConfig:
    """A loss scaler and its constants. The defaults are GPT-NeoX's (`configs/20B.yml`, "fp16").

    `metaseq_until_2022_05` is that of OPT's first release: the window is constant. Since metaseq's pull request 115,
    which was made for OPT-66B, `metaseq` doubles and halves it with the scale.
    """

    kind: Literal["deepspeed", "metaseq", "metaseq_until_2022_05"] = field(
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
            self.kind in KINDS,
            f"scaler: kind is {self.kind!r}; it must be {', '.join(map(repr, KINDS[:-1]))} or {KINDS[-1]!r}",
        )
        require(
            math.isfinite(self.initial) and 0 < self.minimum <= self.initial,
            f"scaler: minimum {self.minimum} must be above 0 and at most initial {self.initial}, which must be finite",
        )
        require_limits(self, "scaler")
        require(
            self.kind == "deepspeed" or self.hysteresis == 1,
            f"scaler: hysteresis is {self.hysteresis}; metaseq lowers the scale at every overflow, so it must be 1",
        )


class LossScaler:
    """The loss scale of the next step. Call `update` once per step."""

    def __init__(self, config: ScalerConfig) -> None:
        self.config = config
        self.scale = config.initial
        self._window = config.window
        self._hysteresis = config.hysteresis
        # Steps since the last overflow, including the next step; a run starts as if after an overflow.
        self._distance = 1

    def update(self, overflow: bool) -> None:
        """Update the scale after a step; `overflow` says whether its gradient overflowed.

        Raises ScaleExhausted when DeepSpeed's state machine would go below the minimum; the state is then unchanged.
        """
        if overflow:
            self._back_off()
            self._distance = 1
        else:
            self._grow()
            self._distance += 1

    def state(self) -> dict[str, Any]:
        """The state needed to resume, as plain JSON."""
        return {
            "scale": self.scale,
            "window": self._window,
            "hysteresis": self._hysteresis,
            "distance": self._distance,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a `state()`. Raises ValueError when its entries differ."""
        require(
            set(state) == set(self.state()),
            f"scaler: the state has the entries {sorted(state)}, not {sorted(self.state())}; use a checkpoint of a run "
            "with a loss scaler",
        )
        self.scale = float(state["scale"])
        self._window, self._hysteresis = int(state["window"]), int(state["hysteresis"])
        self._distance = int(state["distance"])

    def _back_off(self) -> None:
        if self.config.kind != "deepspeed":
            if self.config.kind == "metaseq":
                self._window = max(self._window // 2, 1)
            # The scale never goes below the minimum; steps that overflow are still skipped.
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
        if self.config.kind != "deepspeed":
            if self._distance % self._window == 0:
                self.scale *= FACTOR
                self._window *= 2 if self.config.kind == "metaseq" else 1
        # `update_scale` of `deepspeed/runtime/fp16/loss_scaler.py` checks one step later than metaseq, and resets the
        # hysteresis only here.
        elif self._distance > 1 and (self._distance - 1) % self._window == 0:
            self._hysteresis = self.config.hysteresis
            self.scale *= FACTOR
