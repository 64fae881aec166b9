"""What a fitted model sees of the sources that it is fitted on."""

from __future__ import annotations

from tasks.recipe.resolved import ResolvedSource, ResolvedStep, Unresolved
from tasks.recipe.schema import Recipe


def before_models(origin: ResolvedSource, recipe: Recipe) -> tuple[ResolvedStep, ...]:
    """The steps of a source before the first that uses a fitted model: a model is fitted on what these give."""
    uses = [step.model in recipe.models for step in origin.steps]
    return origin.steps[: uses.index(True)] if True in uses else origin.steps


def fit_reads(name: str, origin: ResolvedSource, recipe: Recipe) -> tuple[tuple[str, str], ...]:
    """The steps of `origin` whose columns the fit of a model reads: (the kernel's name, the last step of that stage).

    Raises Unresolved when there is no such step.
    """
    model = recipe.models[name]
    stage = model.declared()
    pairs = []
    for role in stage.reads(model.typed_config()):
        found = [step.name for step in before_models(origin, recipe) if step.stage.name == role]
        if not found:
            raise Unresolved(
                f"models.{name}: {stage.name} reads {role}, but {origin.name} has no step of that stage before the "
                "first step that uses a fitted model; add one there"
            )
        pairs.append((role, found[-1]))
    return tuple(pairs)
