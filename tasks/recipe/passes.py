"""Which steps of a source share one read of its text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from infra.stage import StageKind
from tasks.recipe.resolved import ResolvedSource, ResolvedStep


def passes(source: ResolvedSource, fitted: Mapping[str, object]) -> Iterator[tuple[ResolvedStep, ...]]:
    """Group the steps of a source: consecutive steps in a group share one read of each shard.

    A step starts a new group if it sees other edits or floors than the step before it, reads what a step of the group
    writes, or waits for a fitted model that no step of the group waits for.
    """
    group: list[ResolvedStep] = []
    for step in source.steps:
        if group and not _shares_a_read(group, step, source.name, fitted):
            yield tuple(group)
            group = []
        group.append(step)
        if step.stage.kind is not StageKind.annotate or step.edits_text:
            yield tuple(group)
            group = []
    if group:
        yield tuple(group)


def _shares_a_read(
    group: Sequence[ResolvedStep], step: ResolvedStep, source: str, fitted: Mapping[str, object]
) -> bool:
    first = group[-1]
    names = {member.name for member in group}
    meant = {alias: target for member in group for alias, target in member.reads[source]}
    waits = step.model in fitted and all(member.model != step.model for member in group)
    return (
        step.stage.kind is StageKind.annotate
        and step.sees == first.sees
        and step.floors == first.floors
        and not names & step.read_steps
        and all(meant.get(alias, target) == target for alias, target in step.reads[source])
        and not waits
    )
