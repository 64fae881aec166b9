"""The verdicts of a changed recipe over the annotations of a build: the build's own stages, without their corpus."""

from __future__ import annotations

from collections.abc import Sequence

from infra.engine.graph import BuildTask, Made
from infra.engine.plans import Progress, present
from infra.engine.pool import Engine
from infra.store.lake import Lake
from infra.store.manifest import Manifest, read_manifest
from tasks.corpus.groups import groups
from tasks.corpus.outcomes import outcomes
from tasks.corpus.rules import apply_rules
from tasks.pipeline import corpus_tasks
from tasks.recipe.resolved import ResolvedRecipe

# What these stages give follows from annotations alone.
_VERDICTS = frozenset(stage.name for stage in (apply_rules, groups, outcomes))
OUTCOMES = "outcomes"


class NotScored(ValueError):
    """The change needs more than the annotations that the lake has."""


def tasks_of_verdicts(resolved: ResolvedRecipe) -> list[BuildTask]:
    """The tasks of a build that its verdicts follow from, in order."""
    tasks = corpus_tasks(resolved)
    wanted = {OUTCOMES}
    for task in reversed(tasks):
        if wanted & set(task.makes):
            wanted |= set(task.needs)
    return [task for task in tasks if wanted & set(task.makes)]


def judge(
    lake: Lake, engine: Engine, tasks: Sequence[BuildTask], read: Made, build: str, progress: Progress
) -> dict[str, Manifest]:
    """The artifacts of `tasks` by name. Only verdicts are made; the lake keeps them, and a build like this uses them.

    `read` are the documents of sources and references. Raises NotScored, naming `build`, where anything else is not in
    the lake.
    """
    made = dict(read)
    lacking: list[str] = []
    for task in tasks:
        if set(task.makes) <= made.keys():
            continue
        if not set(task.needs) <= made.keys():
            lacking += task.makes
            continue
        plan = task.plan(lake, made)
        found = present(lake, plan)
        if found is None and set(plan.names) <= _VERDICTS and not lacking:
            found = plan.run(lake, engine, progress)
        if found is None:
            pairs = zip(task.makes, plan.names, plan.keys, strict=True)
            lacking += [name for name, stage, key in pairs if read_manifest(lake, stage, key) is None]
        else:
            made |= dict(zip(task.makes, found, strict=True))
    if lacking:
        scored = [name for name in lacking if name.rpartition("/")[2] not in _VERDICTS]
        raise NotScored(
            f"this change has to be built: the lake has no {', '.join(scored)} for it. What-if reads what the build "
            f"{build} has scored, so it can change rules, their thresholds and survivors"
        )
    return made
