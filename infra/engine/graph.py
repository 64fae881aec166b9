"""A build as a graph of tasks: the artifacts that each task makes and needs, and its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.engine.plans import Plan
from infra.store.lake import Lake
from infra.store.manifest import Manifest

Made = Mapping[str, Manifest]


@dataclass(frozen=True)
class BuildTask:
    """One task of a build.

    `makes` and `needs` are names of artifacts within the build, such as ``crawl/language``. `plan` returns the plan,
    given the needed artifacts. `modules` are the modules that workers import for the task. `used` marks a result that
    is read outside the build, by people and by training: all of its parts must be there.
    """

    name: str
    makes: tuple[str, ...]
    needs: tuple[str, ...]
    plan: Callable[[Lake, Made], Plan]
    modules: tuple[str, ...] = ()
    used: bool = False
