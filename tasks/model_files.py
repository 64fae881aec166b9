"""The model files that a step of a recipe names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from infra.budget import Budget
from infra.child import ChildDied, run_in_child
from infra.models import ModelFiles, local_model, packaged_model
from infra.stage import Stage
from infra.store.roots import require_inside

FIT_REPORT = "report.json"  # beside a fitted model: what it says of itself, for people
# The largest model of fastText's site takes seconds and 8 GiB.
TRIAL = Budget(seconds=60.0, memory_bytes=16 << 30)


def model_files(stage: Stage, name: str) -> ModelFiles:
    """The files of a model: ``bundled:NAME``, a file, or all files in a folder and in the folders in it.

    Files in those are named ``FOLDER/FILE``. Hidden ones are left out.

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
    require_inside(path, "the model")
    files = _files_in(path) if path.is_dir() else [path]
    for file in files:
        require_inside(file, "the model")
    if not files or not files[0].is_file():
        example = f"; give a file, or {stage.default_model}" if stage.default_model else ""
        raise ValueError(f"there is no file {name}{example}")
    model = local_model({_name_in(path, file): file for file in files})
    if stage.try_model is not None:
        _try(stage.try_model, name, tuple(model.local.items()), tuple(model.digests.items()))
    return model


def _files_in(folder: Path) -> list[Path]:
    shown = [item for item in folder.iterdir() if not item.name.startswith(".")]
    inner = [item for below in shown if below.is_dir() for item in below.iterdir() if not item.name.startswith(".")]
    return sorted(item for item in (*shown, *inner) if item.is_file())


def _name_in(model: Path, file: Path) -> str:
    return file.name if file == model else file.relative_to(model).as_posix()


@cache
def _try(
    try_model: Callable[[Mapping[str, Path]], None],
    name: str,
    files: tuple[tuple[str, str], ...],
    digests: tuple[tuple[str, str], ...],
) -> None:
    """Try a model in a child process, once for these contents: a damaged file can hold up or crash a library."""
    try:
        run_in_child(try_model, {file: Path(path) for file, path in files}, budget=TRIAL)
    except ChildDied as error:
        raise ValueError(f"{name} cannot be used: the process that tried it {error}. Fetch the file again") from error
