"""Runs the tasks of a build in this process, without Prefect."""

from __future__ import annotations

from collections.abc import Sequence

from infra.engine.graph import BuildTask, Made
from infra.engine.pool import Engine
from infra.store.lake import Lake
from infra.store.manifest import Manifest


def run_tasks(tasks: Sequence[BuildTask], lake: Lake, engine: Engine, made: Made | None = None) -> dict[str, Manifest]:
    """Every artifact by name, in the order of the tasks. `made` are those that are there already."""
    known = dict(made or {})
    for task in tasks:
        needed = {name: known[name] for name in task.needs}
        plan = task.plan(lake, needed)
        known |= dict(zip(task.makes, plan.run(lake, engine, lambda label, done, total: None), strict=True))
    return {name: known[name] for task in tasks for name in task.makes}
