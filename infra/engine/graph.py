"""A build as a graph of tasks: the artifacts that each task makes and needs, and its plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from infra.engine.plans import Plan
from infra.store.lake import Lake
from infra.store.manifest import Manifest

Made = Mapping[str, Manifest]


@dataclass(frozen=True)
class BuildTask:
    """One task of a build.

    `makes` and `needs` are names of artifacts within the build, such as ``crawl/language``. `plan` returns the plan,
    given the needed artifacts. `modules` are the modules that workers import for the task.
    """

    name: str
    makes: tuple[str, ...]
    needs: tuple[str, ...]
    plan: Callable[[Lake, Made], Plan]
    modules: tuple[str, ...] = ()


def needed_by(tasks: Iterable[BuildTask], wanted: Iterable[str]) -> list[BuildTask]:
    """The tasks that make the `wanted` artifacts, and their upstream tasks, in the order given."""
    ordered = list(tasks)
    maker = {name: task for task in ordered for name in task.makes}
    chosen: set[str] = set()
    waiting = [maker[name] for name in wanted]
    while waiting:
        task = waiting.pop()
        if task.name not in chosen:
            chosen.add(task.name)
            waiting += [maker[name] for name in task.needs if name in maker]
    return [task for task in ordered if task.name in chosen]
