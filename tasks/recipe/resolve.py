"""A recipe with everything that it leaves open settled: what each step reads, sees, and is kept from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from infra.engine import units
from infra.stage import Stage, StageConfig, StageKind
from tasks.corpus import rules
from tasks.corpus.outcomes import Survivors
from tasks.corpus.rules import Rule, Threshold
from tasks.recipe.parts import Step
from tasks.recipe.schema import DEFAULT_SURVIVORS, Recipe, Reference, Source
from tasks.stages import find_stage

FLOOR = "floor "  # before the name of a step, in the view of the steps behind a floor


@dataclass(frozen=True)
class ResolvedStep:
    """A step of a source, or across sources.

    `sees` are the edits in the text that it reads; `reads` maps the names that the kernel knows to steps, for each
    source; `model` is the name of the model it uses.
    """

    name: str
    stage: Stage
    config: StageConfig
    sees: tuple[str, ...]
    reads: Mapping[str, tuple[tuple[str, str], ...]]
    floors: tuple[Threshold, ...] = ()
    model: str | None = None
    survivors: tuple[Survivors, ...] = DEFAULT_SURVIVORS

    @property
    def read_steps(self) -> set[str]:
        """The steps whose columns it reads."""
        return {step for pairs in self.reads.values() for _, step in pairs} | {floor.step for floor in self.floors}

    def engine_floors(self) -> tuple[units.Floor, ...]:
        """The floors as the engine knows them."""
        return tuple(
            units.Floor(f"{FLOOR}{floor.column}", floor.at_least, floor.at_most, floor.one_of) for floor in self.floors
        )


@dataclass(frozen=True)
class ResolvedSource:
    """A source or a reference, with its steps in order."""

    name: str
    section: Reference
    steps: tuple[ResolvedStep, ...]

    def step(self, name: str) -> ResolvedStep | None:
        """The step of that name."""
        return next((step for step in self.steps if step.name == name), None)

    @property
    def edits(self) -> tuple[str, ...]:
        """The steps that change the text, in order."""
        return tuple(step.name for step in self.steps if step.stage.gives_edits)

    def skipped_by(self, floor: Threshold) -> tuple[str, ...]:
        """The steps that do not read documents outside a floor."""
        return tuple(step.name for step in self.steps if floor in step.floors)


@dataclass(frozen=True)
class ResolvedRecipe:
    """A recipe with its steps resolved."""

    recipe: Recipe
    sources: tuple[ResolvedSource, ...]
    references: tuple[ResolvedSource, ...]
    across: tuple[ResolvedStep, ...] = field(default=())

    def origin(self, name: str) -> ResolvedSource:
        """The source or reference of that name."""
        return next(source for source in (*self.sources, *self.references) if source.name == name)

    def edits(self, source: ResolvedSource) -> tuple[str, ...]:
        """The steps that change the text of a source, in order, those across sources last."""
        return (*source.edits, *(step.name for step in self.across if step.stage.gives_edits))

    def step(self, source: ResolvedSource, name: str) -> ResolvedStep | None:
        """The step of that name which documents of a source go through."""
        return source.step(name) or next((step for step in self.across if step.name == name), None)


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
                f"models.{name}: {stage.name} reads {role}, and {origin.name} has no step of that stage before the "
                "first step that uses a fitted model; add it there"
            )
        pairs.append((role, found[-1]))
    return tuple(pairs)


class Unresolved(ValueError):
    """A recipe that does not hold together."""


def resolve(recipe: Recipe) -> ResolvedRecipe:
    """Resolve a recipe. Raises Unresolved, naming the part that does not fit and what would."""
    references = tuple(_source(name, section, recipe) for name, section in recipe.references.items())
    sources = tuple(_source(name, section, recipe) for name, section in recipe.sources.items())
    across: list[ResolvedStep] = []
    for step in recipe.across:
        found, sources = _across(step, sources, across)
        across.append(found)
    resolved = ResolvedRecipe(recipe, sources, references, tuple(across))
    for source in (*sources, *references):
        _check_models(resolved, source)
    for reference in references:
        for floor in reference.section.floors:
            _check_floor(resolved, reference, f"references.{reference.name}.floors", floor)
    for source in sources:
        _check_thresholds(resolved, source)
    _check_whole(resolved)
    return resolved


def _source(name: str, section: Reference, recipe: Recipe) -> ResolvedSource:
    steps: list[ResolvedStep] = []
    floors = list(section.floors)
    for step in section.steps:
        where = f"{'sources' if name in recipe.sources else 'references'}.{name}.{step.name}"
        config = step.typed_config()
        stage = step.declared()
        edits = tuple(earlier.name for earlier in steps if earlier.stage.gives_edits)
        sees = _sees(where, step, edits)
        behind = _floors_before(floors, steps) if stage.kind is StageKind.annotate else ()
        reads: list[tuple[str, str]] = []
        for role in stage.reads(config):
            read = _read(where, step, role, config, steps, sees)
            if isinstance(read, ResolvedStep):
                read = replace(read, floors=_floors_before(floors, steps), reads={name: read.reads[""]})
                steps.append(read)
            reads.append((role, read if isinstance(read, str) else read.name))
        if any(earlier.name == step.name for earlier in steps):
            raise Unresolved(f"{where}: two steps have this name; give one of them another, with stage: {step.stage}")
        steps.append(
            ResolvedStep(
                step.name,
                stage,
                config,
                sees,
                {name: tuple(reads)},
                behind,
                step.model_name,
                step.survivors or DEFAULT_SURVIVORS,
            )
        )
    for floor in floors:
        if not any(step.name == floor.step for step in steps):
            kind = "sources" if name in recipe.sources else "references"
            raise Unresolved(f"{kind}.{name}.floors: the source has no step {floor.step}")
    return ResolvedSource(name, section, tuple(steps))


def _across(
    step: Step, sources: tuple[ResolvedSource, ...], before: Sequence[ResolvedStep]
) -> tuple[ResolvedStep, tuple[ResolvedSource, ...]]:
    """A step across sources, and the sources with the steps that it implies."""
    where, config, stage = f"across.{step.name}", step.typed_config(), step.declared()
    if stage.kind is not StageKind.partitioned:
        raise Unresolved(f"{where}: {stage.name} looks at one document at a time; list it in the steps of the sources")
    if any(earlier.name == step.name for earlier in before) or any(source.step(step.name) for source in sources):
        raise Unresolved(
            f"{where}: a source has a step of this name; give one of them another, with stage: {stage.name}"
        )
    edits = tuple(
        dict.fromkeys(
            [*(name for source in sources for name in source.edits), *(s.name for s in before if s.stage.gives_edits)]
        )
    )
    sees = _sees(where, step, edits)
    reads: dict[str, tuple[tuple[str, str], ...]] = {}
    extended = []
    for source in sources:
        steps = list(source.steps)
        pairs: list[tuple[str, str]] = []
        for role in stage.reads(config):
            own = tuple(name for name in sees if name in source.edits)
            read = _read(where, step, role, config, steps, own)
            if isinstance(read, ResolvedStep):
                floors = _floors_before(source.section.floors, steps)
                read = replace(read, floors=floors, reads={source.name: read.reads[""]})
                steps.append(read)
            pairs.append((role, read if isinstance(read, str) else read.name))
        reads[source.name] = tuple(pairs)
        extended.append(replace(source, steps=tuple(steps)))
    found = ResolvedStep(
        step.name, stage, config, sees, reads, (), step.model_name, step.survivors or DEFAULT_SURVIVORS
    )
    return found, tuple(extended)


def _sees(where: str, step: Step, edits: tuple[str, ...]) -> tuple[str, ...]:
    if step.sees is None:
        return edits
    if unknown := [name for name in step.sees if name not in edits]:
        raise Unresolved(
            f"{where}.sees: no step {unknown[0]} before it changes the text; those that do: {_list(edits)}"
        )
    if step.declared().gives_edits and set(step.sees) != set(edits):
        raise Unresolved(f"{where}.sees: a step that changes the text sees all changes before it: {_list(edits)}")
    return tuple(name for name in edits if name in step.sees)


def _read(
    where: str, step: Step, role: str, config: StageConfig, steps: Sequence[ResolvedStep], sees: tuple[str, ...]
) -> str | ResolvedStep:
    """The step that a kernel means by `role`: one that is listed before it, or a new one that the stage implies."""
    stage = step.declared()
    named = step.reads.get(role)
    if named is not None:
        if not any(earlier.name == named for earlier in steps):
            raise Unresolved(f"{where}.reads: no step {named} stands before it")
        return named
    found = [earlier for earlier in steps if earlier.stage.name == role]
    implied = stage.implied[role](config) if role in stage.implied else None
    if implied is not None:
        found = [earlier for earlier in found if earlier.config == implied and earlier.sees == sees]
    if len(found) > 1:
        names = ", ".join(earlier.name for earlier in found)
        raise Unresolved(
            f"{where}: it reads {role}, and {names} are steps of that stage; say which: reads: {{{role}: ...}}"
        )
    if found:
        return found[0].name
    if implied is None:
        raise Unresolved(f"{where}: {stage.name} reads {role}, and no step of that stage stands before it; add {role}")
    maker = find_stage(role, StageKind.annotate)
    if maker.reads(implied):
        raise Unresolved(f"{where}: {role} reads other steps itself; list it before {step.name}")
    name = f"{step.name}_{role}"
    if any(earlier.name == name for earlier in steps):
        raise Unresolved(f"{where}: it adds a step {name}, and one of that name has another config; rename that one")
    return ResolvedStep(name, maker, implied, sees if maker.reads_text(implied) else (), {"": ()})


def _floors_before(floors: Sequence[Threshold], steps: Sequence[ResolvedStep]) -> tuple[Threshold, ...]:
    names = {step.name for step in steps}
    return tuple(floor for floor in floors if floor.step in names)


def _check_models(resolved: ResolvedRecipe, source: ResolvedSource) -> None:
    for step in source.steps:
        if step.stage.load is not None and step.model is None:
            known = _list(tuple(resolved.recipe.models))
            raise Unresolved(f"{source.name}.{step.name}: it needs a model; the recipe fits {known}, or give a file")


def _check_thresholds(resolved: ResolvedRecipe, source: ResolvedSource) -> None:
    section = source.section
    assert isinstance(section, Source)
    where = f"sources.{source.name}"
    reasons = [rule.reason for rule in section.rules]
    if len(set(reasons)) < len(reasons):
        raise Unresolved(f"{where}.rules: every rule needs a reason of its own, and these are {_list(tuple(reasons))}")
    taken = {rules.ALL_STRUCK, "struck", "kept"} & set(reasons)
    if taken:
        raise Unresolved(f"{where}.rules: the reason {min(taken)} has a meaning of its own; choose another name")
    for rule in section.rules:
        _check_column(resolved, source, f"{where}.rules.{rule.reason}", rule)
    for floor in section.floors:
        _check_floor(resolved, source, f"{where}.floors", floor)
        if not any(_implies(rule, floor) for rule in section.rules):
            raise Unresolved(
                f"{where}.floors: no rule is at least as strict as the floor on {floor.column}, so documents below it "
                f"would be kept unscored. Tighten the rule, or loosen the floor: then the stages behind {floor.step} "
                "score the documents between the two."
            )


def _check_floor(resolved: ResolvedRecipe, source: ResolvedSource, where: str, floor: Threshold) -> None:
    _check_column(resolved, source, where, floor)
    step = source.step(floor.step)
    if step is not None and step.stage.kind is not StageKind.annotate:
        raise Unresolved(
            f"{where}: {floor.step} compares documents with each other; a floor needs a step that does not"
        )


def _check_column(resolved: ResolvedRecipe, source: ResolvedSource, where: str, threshold: Threshold) -> None:
    name, _, column = threshold.column.partition(".")
    step = resolved.step(source, name)
    if step is None:
        known = _list(tuple(item.name for item in (*source.steps, *resolved.across)))
        raise Unresolved(f"{where}: the source has no step {name}; it has {known}")
    schema = step.stage.schema
    assert schema is not None
    if column not in schema.names:
        raise Unresolved(f"{where}: {name} has no column {column}; it has {', '.join(schema.names)}")
    kind = schema.field(column).type
    bounded = threshold.at_least is not None or threshold.at_most is not None
    if bounded and not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise Unresolved(f"{where}: at_least and at_most are for numbers, and {threshold.column} holds {kind}")
    if threshold.one_of is not None and not pa.types.is_string(kind):
        raise Unresolved(f"{where}: one_of is for strings, and {threshold.column} holds {kind}")


def _implies(rule: Rule, floor: Threshold) -> bool:
    """Whether every document that passes `rule` passes `floor`."""
    if rule.column != floor.column or rule.missing == "passes":
        return False
    at_least = floor.at_least is None or (rule.at_least is not None and rule.at_least >= floor.at_least)
    at_most = floor.at_most is None or (rule.at_most is not None and rule.at_most <= floor.at_most)
    one_of = floor.one_of is None or (rule.one_of is not None and set(rule.one_of) <= set(floor.one_of))
    return at_least and at_most and one_of


def _check_whole(resolved: ResolvedRecipe) -> None:
    recipe = resolved.recipe
    given = {source.share is not None for source in recipe.sources.values()}
    if any(source.epochs is not None for source in recipe.sources.values()) and True in given:
        raise Unresolved("sources: give every source a share, or every source epochs, not both")
    for name, model in recipe.models.items():
        known = [*recipe.sources, *recipe.references]
        if unknown := [source for source in model.on if source not in known]:
            raise Unresolved(
                f"models.{name}.on: there is no source or reference {unknown[0]}; there are {_list(tuple(known))}"
            )
        users = [step for source in (*resolved.sources, *resolved.references) for step in source.steps]
        if not any(step.model == name for step in (*users, *resolved.across)):
            raise Unresolved(f"models.{name}: no step uses it; give a step model: {name}, or leave it out")
        for origin in model.on:
            fit_reads(name, resolved.origin(origin), recipe)
    used = {origin for model in recipe.models.values() for origin in model.on}
    if idle := [name for name in recipe.references if name not in used]:
        raise Unresolved(f"references.{idle[0]}: no model is fitted on it; leave it out")
    if recipe.tokens.validation > 0:
        everywhere = any(step.stage.gives_clusters for step in resolved.across)
        for source in resolved.sources:
            if not everywhere and not any(step.stage.gives_clusters for step in source.steps):
                raise Unresolved(
                    f"tokens.validation: no step finds the duplicates of {source.name}, so copies of a validation "
                    "document could be trained on; add near_duplicates, with survivors: [all] if copies are to stay"
                )


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
