"""Named models with the hyperparameters of their training: one JSON file per model in this folder.

A preset holds

- `family`: its group on the page, with the paper;
- `source`: the paper, the configuration files and what was derived from them;
- `parameters`, and `non_embedding_parameters`, without token and position embeddings and the output layer;
- `model`: the mapping that `model.architectures.registry.model_config` reads;
- `training`: the fields of `model.run.hyperparameters.TrainingConfig`;
- `published`: the authors' GPUs, layout and tokens (null: not stated); null for this project's own presets;
- `contradictions`: where sources differ. `values` maps each source to its value, `chosen` is the value used here, `why`
  is the reason. A `field` that begins with a name above is a path in the preset; any other is a description.

docs/presets.md is the page of all presets.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """All presets, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def preset(name: str) -> dict[str, Any]:
    """The preset of that name. Raises ValueError listing the names."""
    if name not in preset_names():
        raise ValueError(f"there is no preset {name!r}; the presets are {', '.join(preset_names())}")
    values: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return values
