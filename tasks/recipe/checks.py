"""Whether the parts of a resolved recipe fit each other: thresholds, columns, floors, models, mixture."""

from __future__ import annotations

import pyarrow as pa

from infra.stage import StageKind
from tasks.corpus import rules
from tasks.corpus.duplicates import reason_of
from tasks.corpus.rules import Rule, Threshold
from tasks.recipe.fits import fit_reads
from tasks.recipe.resolved import ResolvedRecipe, ResolvedSource, Unresolved, listed
from tasks.recipe.schema import Source


def check(resolved: ResolvedRecipe) -> None:
    """Raises Unresolved, naming the part that does not fit and what would."""
    for source in (*resolved.sources, *resolved.references):
        _check_models(resolved, source)
    for reference in resolved.references:
        for floor in reference.section.floors:
            _check_floor(resolved, reference, f"references.{reference.name}.floors", floor)
    for source in resolved.sources:
        _check_thresholds(resolved, source)
    _check_whole(resolved)


def _check_models(resolved: ResolvedRecipe, source: ResolvedSource) -> None:
    for step in source.steps:
        if step.stage.load is not None and step.model is None:
            known = listed(tuple(resolved.recipe.models))
            raise Unresolved(f"{source.name}.{step.name}: it needs a model; use one of the recipe ({known}) or a file")


def _check_thresholds(resolved: ResolvedRecipe, source: ResolvedSource) -> None:
    section = source.section
    assert isinstance(section, Source)
    where = f"sources.{source.name}"
    reasons = [rule.reason for rule in section.rules]
    if len(set(reasons)) < len(reasons):
        raise Unresolved(f"{where}.rules: every rule needs its own reason, but these are {listed(tuple(reasons))}")
    of_duplicates = {reason_of(step.config) for step in (*source.steps, *resolved.across) if step.stage.gives_clusters}
    taken = {rules.ALL_STRUCK, "near_duplicate", "struck", "kept", *of_duplicates} & set(reasons)
    if taken:
        raise Unresolved(f"{where}.rules: the reason {min(taken)} is reserved; choose another name")
    for rule in section.rules:
        for threshold in rule.thresholds:
            _check_column(resolved, source, f"{where}.rules.{rule.reason}", threshold)
    for part, cut in section.parts.items() if section.parts_by is not None else ():
        if not cut.is_rest:
            one_of = None if cut.value is None else (cut.value,)
            asked = Threshold(column=section.parts_by, at_least=cut.at_least, at_most=cut.at_most, one_of=one_of)
            _check_column(resolved, source, f"{where}.parts.{part}", asked)
    for floor in section.floors:
        _check_floor(resolved, source, f"{where}.floors", floor)
        if not any(_implies(rule, floor) for rule in section.rules):
            raise Unresolved(
                f"{where}.floors: no rule is at least as strict as the floor on {floor.column}, so documents below it "
                f"would be kept unscored. Tighten the rule, or loosen the floor: then the stages after {floor.step} "
                "score the documents between the two."
            )


def _check_floor(resolved: ResolvedRecipe, source: ResolvedSource, where: str, floor: Threshold) -> None:
    _check_column(resolved, source, where, floor)
    step = source.step(floor.step)
    if step is not None and step.stage.kind is not StageKind.annotate:
        raise Unresolved(
            f"{where}: {floor.step} compares documents with each other; use a step that reads one document at a time"
        )


def _check_column(resolved: ResolvedRecipe, source: ResolvedSource, where: str, threshold: Threshold) -> None:
    name, _, column = threshold.column.partition(".")
    step = resolved.step(source, name)
    if step is None:
        known = listed(tuple(item.name for item in (*source.steps, *resolved.across)))
        raise Unresolved(f"{where}: the source has no step {name}; it has {known}")
    schema = step.stage.schema
    assert schema is not None
    if column not in schema.names:
        raise Unresolved(f"{where}: {name} has no column {column}; it has {', '.join(schema.names)}")
    kind = schema.field(column).type
    bounded = threshold.at_least is not None or threshold.at_most is not None
    if bounded and not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise Unresolved(f"{where}: at_least and at_most are for numbers, but {threshold.column} has type {kind}")
    if threshold.one_of is not None and not pa.types.is_string(kind):
        raise Unresolved(f"{where}: one_of is for strings, but {threshold.column} has type {kind}")


def _implies(rule: Rule, floor: Threshold) -> bool:
    """Whether every document that passes `rule` passes `floor`."""
    if rule.column != floor.column or rule.missing == "passes" or len(rule.thresholds) > 1:
        return False
    at_least = floor.at_least is None or (rule.at_least is not None and rule.at_least >= floor.at_least)
    at_most = floor.at_most is None or (rule.at_most is not None and rule.at_most <= floor.at_most)
    one_of = floor.one_of is None or (rule.one_of is not None and set(rule.one_of) <= set(floor.one_of))
    return at_least and at_most and one_of


def _check_whole(resolved: ResolvedRecipe) -> None:
    recipe = resolved.recipe
    shares = [one.share is not None for one in recipe.mixed().values()]
    epochs = [one.epochs is not None for one in recipe.mixed().values()]
    mixed = any(shares) and any(epochs)
    if mixed or (any(shares) and not all(shares)) or (any(epochs) and not all(epochs)):
        raise Unresolved(
            "sources: give every source a share, or every source epochs, or neither; in place of a source, its parts"
        )
    if not recipe.mixed():
        raise Unresolved("sources: all of them are in splits, so there is nothing to train on")
    if small := [name for name, share in recipe.shares().items() if share < 1e-9]:
        raise Unresolved(f"sources.{small[0]}.share: it is too small compared with the others")
    for name, model in recipe.models.items():
        known = [*recipe.sources, *recipe.references]
        if unknown := [source for source in model.on if source not in known]:
            raise Unresolved(
                f"models.{name}.on: there is no source or reference {unknown[0]}; there are {listed(tuple(known))}"
            )
        try:
            model.typed_config().refuse_origins(model.on)
        except ValueError as error:
            raise Unresolved(f"models.{name}: {error}") from error
        users = [step for source in (*resolved.sources, *resolved.references) for step in source.steps]
        if not any(step.model == name for step in (*users, *resolved.across)):
            raise Unresolved(f"models.{name}: no step uses it; give a step model: {name}, or remove it")
        for step in (*users, *resolved.across):
            if step.model == name and model.stage not in step.stage.fitted_by:
                makers = listed(step.stage.fitted_by)
                raise Unresolved(
                    f"models.{name}: {step.name} cannot use what {model.stage} fits; its models are fitted by {makers}"
                )
        for origin in model.on:
            fit_reads(name, resolved.origin(origin), recipe)
    used = {origin for model in recipe.models.values() for origin in model.on}
    if idle := [name for name in recipe.references if name not in used]:
        raise Unresolved(f"references.{idle[0]}: no model is fitted on it; remove it")
    for step in resolved.across:
        if f"corpus/{recipe.name}" in step.against:
            raise Unresolved(
                f"across.{step.name}.against: corpus/{recipe.name} names the builds of this recipe: the next one would "
                "find all its documents there. Give that build a name of its own with --name"
            )
    if recipe.tokens.validation > 0:
        everywhere = any(step.stage.gives_clusters for step in resolved.across)
        alone = len(resolved.sources) == 1 and any(step.stage.gives_clusters for step in resolved.sources[0].steps)
        if not everywhere and not alone:
            raise Unresolved(
                "tokens.validation: no step finds duplicates across all sources, so copies of a validation document "
                "could be in the training set; add near_duplicates to across (with survivors: [all] to keep copies)"
            )
