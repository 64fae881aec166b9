"""What differs between two recipes, value by value, and which artifacts that makes anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.stage import StageKind
from tasks.pipeline import build_tasks
from tasks.recipe.resolved import ResolvedRecipe, ResolvedSource, ResolvedStep


@dataclass(frozen=True, slots=True)
class Difference:
    """A value of one recipe and of another; None where it is not there."""

    path: str
    left: Any
    right: Any


def differences(left: ResolvedRecipe, right: ResolvedRecipe) -> list[Difference]:
    """Every value that differs, by its full path. Steps and rules are compared by name and reason."""
    return list(_walk("", left.recipe.model_dump(mode="json"), right.recipe.model_dump(mode="json")))


def made_anew(left: ResolvedRecipe, right: ResolvedRecipe) -> list[str]:
    """The artifacts of `right` that a lake with a build of `left` does not have.

    An artifact is made anew when its stage, its config or its model differs, or anything that it needs does. A stage
    may give the same result for another config; then what stands on it is not made anew, and this list is too long.
    """
    before, after = _described(left), _described(right)
    needs = _needs_of_steps(right)
    there = {name for task in build_tasks(left) for name in task.makes}
    anew: list[str] = []
    for task in build_tasks(right):
        anew += [
            name
            for name in task.makes
            if name not in there
            or before.get(name) != after.get(name)
            or any(need in anew for need in needs.get(name, task.needs))
        ]
    return anew


def _described(resolved: ResolvedRecipe) -> dict[str, Any]:
    """What of the recipe decides each artifact, beside what it needs."""
    recipe = resolved.recipe
    loaded = (recipe.tokenizer.file, recipe.tokenizer.end_of_document)
    found: dict[str, Any] = {}
    for source in (*resolved.sources, *resolved.references):
        section = source.section
        found[f"{source.name}/documents"] = (section.read.model_dump(), section.inputs)
        for step in source.steps:
            found[f"{source.name}/{step.name}"] = (
                step.stage.name,
                step.config,
                step.model,
                step.sees,
                step.reads.get(source.name),
                step.floors,
            )
        found[f"{source.name}/rules"] = (getattr(section, "rules", ()), section.floors, resolved.edits(source))
        found[f"{source.name}/corpus"] = resolved.edits(source)
        found[f"{source.name}/encode"] = loaded
    for step in resolved.across:
        found[f"across/{step.name}"] = (
            *(step.stage.name, step.config, step.model, step.sees),
            *(step.against, list(step.reads.items())),
        )
    for name, model in recipe.models.items():
        found[f"models/{name}"] = model.model_dump()
    steps = [step for source in resolved.sources for step in source.steps]
    found["outcomes"] = (
        list(recipe.sources),
        [(step.name, step.survivors, step.against) for step in (*steps, *resolved.across) if step.stage.gives_clusters],
    )
    found["ids"] = found["index"] = list(recipe.sources)
    found["tokenizer"] = recipe.tokenizer
    found["tokens"] = (recipe.tokens, recipe.shares(), recipe.epochs(), loaded)
    return found


def _needs_of_steps(resolved: ResolvedRecipe) -> dict[str, list[str]]:
    """What each step of a source needs by itself: a task has the needs of all steps that share its read."""
    models = resolved.recipe.models
    documents = [f"{source.name}/documents" for source in resolved.sources]
    return {
        f"{source.name}/{step.name}": [
            *(f"{source.name}/{name}" for name in ("documents", *step.sees, *step.read_steps)),
            *([f"models/{step.model}"] if step.model in models else []),
            # Of documents with one id the first is compared, so those of the sources before it matter.
            *(documents[: documents.index(f"{source.name}/documents")] if _compares(step, source, resolved) else []),
        ]
        for source in (*resolved.sources, *resolved.references)
        for step in source.steps
    }


def _compares(step: ResolvedStep, source: ResolvedSource, resolved: ResolvedRecipe) -> bool:
    return step.stage.kind is StageKind.partitioned and source in resolved.sources


def _walk(path: str, left: Any, right: Any) -> Iterator[Difference]:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in dict.fromkeys([*left, *right]):
            yield from _walk(f"{path}.{key}" if path else str(key), left.get(key), right.get(key))
        if path == "sources" and left.keys() == right.keys() and list(left) != list(right):
            yield Difference("sources (order)", list(left), list(right))
    elif _is_named(left) and _is_named(right) and (left or right):
        mine, theirs = _by_name(left), _by_name(right)
        for key in dict.fromkeys([*mine, *theirs]):
            yield from _walk(f"{path}.{key}", mine.get(key), theirs.get(key))
        if [key for key in mine if key in theirs] != [key for key in theirs if key in mine]:
            yield Difference(f"{path} (order)", list(mine), list(theirs))
    elif left != right:
        yield Difference(path, left, right)


def _is_named(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) and _name(item) is not None for item in value)


def _by_name(items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(_name(item)): item for item in items}


def _name(item: dict[str, Any]) -> Any:
    return item.get("name") or item.get("reason") or item.get("column")
