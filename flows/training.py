"""Training configs: YAML files that name a corpus, a preset and how the run is executed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic

from model.presets import preset_names
from tasks.run_request import TrainingRequest
from tasks.settings import RecipeError, merged, problems_of, read_mapping, refusal
from tasks.training import LayoutOverrides, LayoutRequest


class TrainingSection(TrainingRequest):
    """A run as a person asks for it: `corpus` is the name or key of a build; the newest without one."""

    corpus: str | None = None
    layout: LayoutRequest = pydantic.Field(default_factory=LayoutRequest)

    def request(self) -> TrainingRequest:
        """What of it decides the result."""
        shared = {name: getattr(self, name) for name in TrainingRequest.model_fields}
        return TrainingRequest.model_validate(shared)


class _Layout(pydantic.BaseModel):
    layout: LayoutOverrides


def load_training(name: str | None, changes: Mapping[str, Any] | None = None) -> TrainingSection:
    """The training config in a YAML file, or the preset of that name with every other value at its default.

    `changes` are nested values that replace those of the file, such as ``{"training": {"steps": 100}, "seed": 7}``.
    Without a name they must hold an ``origin``. Raises RecipeError.
    """
    values: dict[str, Any]
    if name is None:
        name, values = "the training config", {}
    elif name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise RecipeError(f"there is no training config {name}")
        values = read_mapping(Path(name), "a training config")
    elif name in preset_names():
        values = {"preset": name}
    else:
        raise RecipeError(f"there is no preset {name}: give a YAML file, or one of {', '.join(preset_names())}")
    try:
        given = dict(changes or {})
        if "layout" in given:
            # Checked apart: the layout's own defaults depend on each other, and are settled after the merge.
            given["layout"] = _Layout.model_validate({"layout": given["layout"]}).layout.values()
        return TrainingSection.model_validate(merged(values, given))
    except pydantic.ValidationError as error:
        raise RecipeError(refusal(name, "a training config that can be run", problems_of(error, "config"))) from error


def layout_settings(options: Iterable[str]) -> list[str]:
    """``layout.KEY=VALUE`` for every ``KEY=VALUE`` of options that hold them set off by commas."""
    return [f"layout.{setting.strip()}" for option in options for setting in option.split(",") if setting.strip()]
