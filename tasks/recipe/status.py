"""What a build of a recipe would do: which tasks there are, what each makes, and what a lake has already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infra.engine.graph import BuildTask
from infra.engine.plans import present
from infra.store.lake import Lake
from infra.store.manifest import Manifest


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """One task of a build. `state` is ``there``, ``to build``, or ``unknown`` without a lake."""

    name: str
    makes: tuple[str, ...]
    state: str


def task_states(tasks: Sequence[BuildTask], lake: Lake | None) -> list[TaskStatus]:
    """The state of every task, without any work but the hashing of inputs that the lake does not know yet.

    The key of a task follows from what it needs, so behind one that is still to be built all are.
    """
    made: dict[str, Manifest] = {}
    states = []
    for task in tasks:
        state = "unknown"
        if lake is not None:
            found = present(lake, task.plan(lake, made)) if all(name in made for name in task.needs) else None
            state = "to build" if found is None else "there"
            made |= dict(zip(task.makes, found or (), strict=False))
        states.append(TaskStatus(task.name, task.makes, state))
    return states
