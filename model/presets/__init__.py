"""Named models with the hyper-parameters they were trained with: one JSON file each in this folder.

A preset holds `model` (the mapping that `model.architecture.model_config` reads), `parameters` (the published count),
`training` (the published hyper-parameters) and `source`.
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
