"""Training: from tokens and a preset to a run, and from a run to its checkpoints, in processes of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pydantic

import infra
from infra.launcher import GuardLost, LaunchError, Stalled, Watch, launch
from infra.stage import StageConfig
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from model.launch import Layout, launch_command
from model.logbook import read_logbook
from model.presets import preset
from model.progress import read_progress
from tasks.tokens import read_summary

# GPT-NeoX pads its vocabulary to a multiple of this, so that matrix products have even shapes.
VOCABULARY_MULTIPLE = 128
# Errors of a rank, by type, that the next start would meet again. Of the rest, most are a rank's that has lost a peer.
_PERMANENT = ("Diverged", "ValueError", "IndexError", "Corrupt", "NotThere", "StoreDenied", "StoreFull", "StoreError")


class TrainingFailed(Exception):
    """The training processes ended in an error that another start would not mend."""


class TrainingInterrupted(Exception):
    """The training processes were killed, or stood still; another start goes on from the newest good checkpoint."""


class WrongSetting(ValueError):
    """A value of a training request that no run can have."""


class TrainingRequest(StageConfig):
    """What decides a run's result: a preset, values replaced in it, seed, and a label to tell equal runs apart.

    `settings` maps dotted keys of the preset's ``model`` and ``training`` to values; `epochs` is the most often that
    a source may be read.
    """

    preset: str
    seed: int = pydantic.Field(1234, ge=0)
    label: str = ""
    epochs: int = pydantic.Field(1, ge=1)
    settings: dict[str, Any] = pydantic.Field(default_factory=dict)


class LayoutRequest(StageConfig):
    """How a run is executed: nothing of it enters the run's identity."""

    engine: Literal["native", "deepspeed"] = "deepspeed"
    ranks: int = pydantic.Field(2, ge=1)
    micro_batch: int = pydantic.Field(4, ge=1)
    startup_seconds: float = pydantic.Field(600, gt=0)
    steady_seconds: float = pydantic.Field(300, gt=0)


def create_training_run(lake: Lake, tokens: Manifest, request: TrainingRequest) -> str:
    """Write down the run that `request` makes of a token artifact; gives its key. The same request is the same run.

    Raises WrongSetting naming the setting that is wrong.
    """
    # torch takes over a second to import, and nothing else in the flow process needs it.
    from model.run import create_run, run_config

    try:
        return create_run(lake, run_config(_run_values(lake, tokens, request)))
    except WrongSetting:
        raise
    except ValueError as error:
        raise WrongSetting(str(error)) from error


def is_finished(lake: Lake, run: str) -> bool:
    """Whether the run's last launch reached its last step and saved it."""
    progress = read_progress(lake, run)
    return progress is not None and progress.state == "finished"


def train(
    lake: Lake,
    run: str,
    layout: LayoutRequest,
    on_line: Callable[[str], None],
    on_step: Callable[[int, int], None],
) -> None:
    """Start the run, or resume it, and return when it is finished.

    The processes are judged by the steps they make, not by being alive; whatever ends this call ends them all.
    Raises TrainingInterrupted when another start would go on, TrainingFailed when it would not.
    """

    def steps_made() -> int | None:
        progress = read_progress(lake, run)
        if progress is None:
            return None
        on_step(progress.step, progress.steps)
        return progress.step if progress.state != "starting" else None

    before = len(read_logbook(lake, run))
    root = Path(infra.__file__).parents[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(root)}
    shape = Layout(layout.engine, layout.ranks, layout.micro_batch)
    watch = Watch(steps_made, layout.startup_seconds, layout.steady_seconds)
    with tempfile.TemporaryDirectory(prefix="millrace-train-") as cache:
        command = launch_command(lake.uri, run, shape, Path(cache))
        try:
            status = launch(command, environment=environment, folder=root, on_line=on_line, watch=watch)
        except (Stalled, GuardLost) as error:
            raise TrainingInterrupted(f"the run {run[:12]} stopped: {error}") from error
        except LaunchError as error:
            raise TrainingFailed(f"the run {run[:12]} could not be started: {error}") from error
    steps_made()
    if status == 0:
        return
    errors = [event for event in read_logbook(lake, run)[before:] if event["event"] == "error"]
    permanent = [event for event in errors if event["error"] in _PERMANENT]
    if permanent:
        raise TrainingFailed(f"the run {run[:12]} failed at step {permanent[-1]['step']}: {permanent[-1]['message']}")
    reason = errors[-1]["message"] if errors else f"exit code {status}"
    raise TrainingInterrupted(f"the run {run[:12]} was interrupted ({reason}); it goes on when it is started again")


def _run_values(lake: Lake, tokens: Manifest, request: TrainingRequest) -> dict[str, Any]:
    values = preset(request.preset)
    summary = read_summary(lake, tokens)
    chosen: dict[str, Any] = {"model": {**values["model"]}, "training": values["training"]}
    chosen["model"]["vocabulary"] = -(-summary["vocabulary"] // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
    for key, value in request.settings.items():
        _replace(chosen, key, value)
    parts = {part.name: part for part in tokens.parts}
    sources = [
        {
            "name": name,
            "weight": weight,
            "epochs": request.epochs,
            "bin": asdict(parts[f"{name}.bin"]),
            "idx": asdict(parts[f"{name}.idx"]),
        }
        for name, weight in summary["mixture"].items()
        if f"{name}.bin" in parts
    ]
    return {**chosen, "sources": sources, "seed": request.seed, "label": request.label}


def _replace(values: Mapping[str, Any], key: str, value: Any) -> None:
    target: Any = values
    *path, last = key.split(".")
    for step in path:
        if not isinstance(target, dict) or step not in target:
            raise WrongSetting(f"--set {key}: the preset has no {step}; its parts are model and training")
        target = target[step]
    if not isinstance(target, dict) or last not in target:
        known = ", ".join(sorted(target)) if isinstance(target, dict) else "nothing"
        raise WrongSetting(f"--set {key}: there is no {last}; there are {known}")
    target[last] = value
