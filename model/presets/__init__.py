"""Named models with the hyper-parameters they were trained with: one JSON file each in this folder.

A preset holds

- `family`: the models that it stands with on the page, with their paper;
- `source`: paper, configuration files and what was derived from them;
- `parameters`, and `non_embedding_parameters`, which leaves out the token and position tables and the output layer;
- `model`, the mapping that `model.architectures.registry.model_config` reads;
- `training`, the fields of `model.run.hyperparameters.TrainingConfig`;
- `published`, how the authors ran it: GPUs, their layout, tokens (null: not stated). Presets of ours have none;
- `contradictions`: where sources differ, `values` maps each source to what it says, `chosen` is what this preset takes
  and `why`. A `field` that begins with a name above is a path in the preset; others say in words what they are about.

All of it as a page: docs/presets.md.
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
    """The preset of that name. Raises ValueError with the names there are."""
    if name not in preset_names():
        raise ValueError(f"there is no preset {name!r}; the presets are {', '.join(preset_names())}")
    values: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return values
