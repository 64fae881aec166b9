"""Training configs: YAML files that name a corpus, a preset and how the run is executed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pydantic

from model.presets import preset_names
from tasks.run_request import TrainingRequest
from tasks.settings import RecipeError, problems_of, read_mapping, refusal, split_setting
from tasks.training import LayoutRequest


class TrainingSection(TrainingRequest):
    """A run as a person asks for it: `corpus` is the name or key of a build; the newest without one."""

    corpus: str | None = None
    layout: LayoutRequest = pydantic.Field(default_factory=LayoutRequest)

    def request(self) -> TrainingRequest:
        """What of it decides the result."""
        return TrainingRequest.model_validate(self.model_dump(exclude={"corpus", "layout"}))


def load_training(name: str | None, settings: Iterable[str] = ()) -> TrainingSection:
    """The training config in a YAML file, or the preset of that name with every other value at its default.

    `settings` are ``KEY=VALUE``: ``training.steps=100`` and ``model.layers=2`` change the preset, ``seed=7`` or
    ``layout.data=4`` the rest. Without a name they must hold an ``origin``. Raises RecipeError.
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
    for setting in settings:
        key, value = split_setting(setting)
        section, _, rest = key.partition(".")
        if section in ("model", "training"):
            values["settings"] = {**_section(values, "settings", name), key: value}
        elif section == "layout" and rest:
            values["layout"] = {**_section(values, "layout", name), rest: value}
        else:
            values[key] = value
    try:
        return TrainingSection.model_validate(values)
    except pydantic.ValidationError as error:
        raise RecipeError(refusal(name, "a training config that can be run", problems_of(error, "config"))) from error


def _section(values: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    found = values.get(section) or {}
    if not isinstance(found, dict):
        raise RecipeError(f"{name}: {section} is {found!r}; a mapping is expected")
    return found


def layout_settings(options: Iterable[str]) -> list[str]:
    """``layout.KEY=VALUE`` for every ``KEY=VALUE`` of options that hold them set off by commas."""
    return [f"layout.{setting.strip()}" for option in options for setting in option.split(",") if setting.strip()]
