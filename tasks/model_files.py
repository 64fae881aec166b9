"""The model files that a step of a recipe names."""

from __future__ import annotations

from pathlib import Path

from infra.models import ModelFiles, local_model, packaged_model
from infra.stage import Stage


def model_files(stage: Stage, name: str) -> ModelFiles:
    """The files of a model: ``bundled:NAME``, a file, or all files in a folder.

    Raises ValueError if the model does not exist, listing those that do, or if the stage cannot use it.
    """
    kind, _, bundled = name.partition(":")
    if kind == "bundled":
        if bundled not in stage.bundled:
            raise ValueError(
                f"no bundled model is called {bundled}; there are {', '.join(sorted(stage.bundled)) or 'none'}"
            )
        return packaged_model(stage.bundled[bundled], bundled)
    path = Path(name)
    files = sorted(item for item in path.iterdir() if item.is_file()) if path.is_dir() else [path]
    if not path.exists() or not files:
        example = f"; give a file, or {stage.default_model}" if stage.default_model else ""
        raise ValueError(f"there is no file {name}{example}")
    faults = [fault for file in files for fault in (stage.check_model(file) if stage.check_model else [])]
    if faults:
        raise ValueError(faults[0])
    return local_model({file.name: file for file in files})
