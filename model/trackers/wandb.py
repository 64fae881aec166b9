"""Weights & Biases.

The tool's own environment variables apply (WANDB_API_KEY, WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE, WANDB_DIR). Without
an API key the run is recorded offline, in the launch's cache folder unless WANDB_DIR says otherwise; `wandb sync`
uploads it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import wandb

from model.observers.observer import Ending
from model.trackers.tracker import RunDescription, own_folder


class WandbTracker:
    """One W&B run per training run; every launch continues it."""

    def __init__(self, run: RunDescription) -> None:
        mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "millrace"),
            id=run.key[:32],
            name=run.name,
            resume="allow" if mode == "online" else None,
            mode=mode,  # type: ignore[arg-type]
            dir=os.environ.get("WANDB_DIR") or own_folder(run, "wandb"),
            config=run.config,
        )
        # W&B's own step must never decrease, but ours does after a resume or a rollback.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        self._run.log({**scalars, "step": step, "time": time})

    def close(self, ending: Ending) -> None:
        self._run.finish(exit_code=1 if ending == "failed" else 0)
