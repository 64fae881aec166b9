"""Resolves what a work unit needs of its stage: declaration, config and model. Loads each model once per worker."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from infra.engine.units import Call
from infra.models import ModelFiles
from infra.stage import Stage, StageConfig, find_stage
from infra.store.lake import Lake


class KernelError(Exception):
    """A kernel violated its contract."""


def stage_and_config(call: Call) -> tuple[Stage, StageConfig]:
    """The stage of a call and its config."""
    stage = find_stage(call.reference)
    return stage, stage.config.model_validate_json(call.config)


def model_of(call: Call, lake: Lake, cache: Path) -> Any:
    """The model of a call: its model files, loaded by the stage's `load`."""
    models: ModelFiles = call.models
    files = models.fetch(lake, cache)
    identity = repr(sorted(models.identity().items()))
    return _loaded(
        call.reference, call.config, identity, tuple((name, str(path)) for name, path in sorted(files.items()))
    )


@lru_cache(maxsize=8)
def _loaded(reference: str, config: str, identity: str, files: tuple[tuple[str, str], ...]) -> Any:
    stage = find_stage(reference)
    assert stage.load is not None
    return stage.load(stage.config.model_validate_json(config), {name: Path(path) for name, path in files})
