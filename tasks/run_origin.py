"""The checkpoint that a run begins with: which one is meant, and what the run takes over from its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from infra.store.lake import Lake
from tasks.run_settings import WrongSetting
from tasks.runs import find_run

if TYPE_CHECKING:
    from model.run.config import RunConfig


def find_origin(lake: Lake, name: str, report: Callable[[str], None] = lambda reason: None) -> str:
    """RUN@STEP, with the whole key, of what a person calls RUN@STEP, or RUN for its newest checkpoint that is whole.

    `report` is told of each newer one that is not, and why. Raises WrongSetting and StoreError when there is no such
    checkpoint with all of its state.
    """
    from model.checkpoints.manifest import committed_steps, newest_good, read_checkpoint

    start, sign, step = name.partition("@")
    if not start or (sign and not step.isdecimal()):
        raise WrongSetting(f"--from {name}: write RUN or RUN@STEP, such as 3fa9@1000")
    run = find_run(lake, start)
    if not sign:
        with TemporaryDirectory(prefix="millrace-origin-") as cache:
            found = newest_good(lake, run, Path(cache), lambda at, reason: report(f"skipped {run[:12]}@{at}: {reason}"))
        if found is None:
            raise WrongSetting(
                f"--from {name}: the run {run[:12]} has no checkpoint with its full state; train it until it has one, "
                "or start from another run"
            )
        return f"{run}@{found.step}"
    steps = committed_steps(lake, run)
    if int(step) not in steps:
        raise WrongSetting(f"--from {name}: the run {run[:12]} has no checkpoint at {step}; it has {steps}")
    if read_checkpoint(lake, run, int(step)).pruned:
        whole = [one for one in steps if not read_checkpoint(lake, run, one).pruned]
        raise WrongSetting(
            f"--from {name}: this checkpoint has only weights; the run {run[:12]} has its full state at steps {whole}"
        )
    return f"{run}@{int(step)}"


def describe_origin(origin: Mapping[str, Any]) -> str:
    """What a run takes over from its origin, as run.json holds it: "started from …", to follow the run's name."""
    text = f"started from {origin['run'][:12]}@{origin['step']}"
    if origin["next_sequence"] > 0:
        text += f" and continues its data at sequence {origin['next_sequence']:,}"
    elif origin["step"] > 0:
        text += " and reads other data, or another order, from the first sequence"
    inherited = origin.get("inherited") or {}
    changed = {
        "learning rate": inherited.get("learning_rate"),
        "learning rate times": None if inherited.get("factor") == 1.0 else inherited.get("factor"),
        "clip": inherited.get("clip"),
    }
    taken_over = [f"{name} {value:g}" for name, value in changed.items() if value is not None]
    return text + (f"; changes made there still apply: {', '.join(taken_over)}" if taken_over else "")


def with_inheritance(lake: Lake, config: RunConfig, training: Mapping[str, Any]) -> RunConfig:
    """The run with what it takes over from its origin.

    `training` holds what is set of its hyperparameters: a rate or clip there replaces what the origin's was changed to.
    """
    from model.checkpoints.manifest import read_checkpoint
    from model.run.config import read_run
    from model.run.events import read_events
    from model.run.inheritance import take_over

    if (origin := config.origin) is None:
        return config
    before = read_run(lake, origin.run)
    inherited = before.course(read_events(lake, origin.run)).to_inherit(origin.step)
    if training.get("schedule"):
        inherited = replace(inherited, learning_rate=None, factor=1.0)
    if "clip" in training.get("optimizer", {}):
        inherited = replace(inherited, clip=None)
    reached = read_checkpoint(lake, origin.run, origin.step).trainer["next_sequence"]
    return take_over(config, before, reached, inherited)
