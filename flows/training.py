"""Training configs: YAML files with a corpus, a preset and a layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic

from infra.store.roots import require_inside
from model.presets import preset_names
from tasks.layout_request import LayoutOverrides, LayoutRequest
from tasks.run_request import TrainingRequest
from tasks.settings import RecipeError, merged, problems_of, read_mapping, refusal


class TrainingSection(TrainingRequest):
    """A run as the user requests it. `corpus` is the name or key of a build; None means the newest."""

    corpus: str | None = None
    layout: LayoutRequest = pydantic.Field(default_factory=LayoutRequest)

    def request(self) -> TrainingRequest:
        """The part that determines the result."""
        shared = {name: getattr(self, name) for name in TrainingRequest.model_fields}
        return TrainingRequest.model_validate(shared)


class _Layout(pydantic.BaseModel):
    layout: LayoutOverrides


def load_training(name: str | None, changes: Mapping[str, Any] | None = None) -> TrainingSection:
    """Load a training config from a YAML file, or from the preset of that name with defaults for all other values.

    `changes` are nested overrides, such as ``{"training": {"steps": 100}, "seed": 7}``. Without a name they must
    contain an ``origin``. Raises RecipeError.
    """
    values: dict[str, Any]
    if name is None:
        name, values = "the training config", {}
    elif name.endswith((".yaml", ".yml")):
        require_inside(name, "the training config")
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
            # Validated separately: the layout's defaults depend on each other and are resolved after the merge.
            given["layout"] = _Layout.model_validate({"layout": given["layout"]}).layout.values()
        return TrainingSection.model_validate(merged(values, given))
    except pydantic.ValidationError as error:
        raise RecipeError(refusal(name, "a valid training config", problems_of(error, "config"))) from error


def layout_settings(options: Iterable[str]) -> list[str]:
    """Split comma-separated ``KEY=VALUE`` options into ``layout.KEY=VALUE`` settings."""
    return [f"layout.{setting.strip()}" for option in options for setting in option.split(",") if setting.strip()]
