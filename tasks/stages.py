"""Finds stages by name. The module of a stage has the stage's name, so there is no list of stages to maintain.

`tasks/NAME.py` is an annotating, partitioned or fitting stage; `tasks/sources/NAME.py` is a reader. The environment
variable ``MILLRACE_STAGES`` names further packages, separated by commas, which may contain both kinds. They are
searched after these two.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import re

from infra.stage import Stage, StageKind

PACKAGES_VARIABLE = "MILLRACE_STAGES"
NAME = r"^[a-z][a-z0-9_]*$"
STEPS = (StageKind.annotate, StageKind.partitioned)


class NoStage(ValueError):
    """There is no stage with that name."""


def find_stage(name: str, *kinds: StageKind) -> Stage:
    """Find the stage with that name and one of the `kinds`. Raises NoStage, which lists the available stages."""
    packages = _packages(*kinds)
    for package in packages:
        found = _stage_of(package, name)
        if found is not None and found.kind in kinds:
            return found
    known = sorted({stage.name for stage in available_stages(*kinds)})
    words = " or ".join(sorted(kinds))
    raise NoStage(f"there is no {words} stage {name}: there are {', '.join(known)}")


def available_stages(*kinds: StageKind) -> list[Stage]:
    """All stages of these kinds, sorted by name."""
    found: dict[str, Stage] = {}
    for package in _packages(*kinds):
        for name in _modules_of(package):
            stage = _stage_of(package, name)
            if stage is not None and stage.kind in kinds:
                found.setdefault(stage.name, stage)
    return [found[name] for name in sorted(found)]


def module_of(stage: Stage) -> str:
    """The module that workers import for a stage."""
    return stage.reference.partition(":")[0]


def _packages(*kinds: StageKind) -> list[str]:
    own = ["tasks.sources"] if StageKind.source in kinds else []
    own += ["tasks"] if set(kinds) - {StageKind.source} else []
    given = os.environ.get(PACKAGES_VARIABLE, "")
    return [*own, *(name for name in re.split(r"[,\s]+", given) if name)]


def _modules_of(package: str) -> list[str]:
    try:
        return [module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__)]
    except Exception as error:  # as below
        reason = f"{type(error).__name__}: {error}"
        raise NoStage(f"{PACKAGES_VARIABLE} names {package}, which cannot be imported ({reason})") from error


def _stage_of(package: str, name: str) -> Stage | None:
    if not re.fullmatch(NAME, name):
        return None
    try:
        if importlib.util.find_spec(f"{package}.{name}") is None:
            return None
        module = importlib.import_module(f"{package}.{name}")
    except Exception as error:  # a module of somebody else can raise anything while it is imported
        reason = f"{type(error).__name__}: {error}"
        raise NoStage(f"{package}.{name} cannot be imported ({reason}); see {PACKAGES_VARIABLE}") from error
    return next((item for item in vars(module).values() if isinstance(item, Stage) and item.name == name), None)
