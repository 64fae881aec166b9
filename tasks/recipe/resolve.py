"""Settles what a recipe leaves open: edits that a step sees, steps that it reads or implies, floors that apply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from infra.stage import StageConfig, StageKind
from tasks.corpus.rules import Threshold
from tasks.recipe.checks import check
from tasks.recipe.parts import Step
from tasks.recipe.resolved import ResolvedRecipe, ResolvedSource, ResolvedStep, Unresolved, listed
from tasks.recipe.schema import DEFAULT_SURVIVORS, Recipe, Reference
from tasks.stages import find_stage


def resolve(recipe: Recipe) -> ResolvedRecipe:
    """Resolve a recipe. Raises Unresolved, naming the part that does not fit and what would."""
    references = tuple(_source(name, section, recipe) for name, section in recipe.references.items())
    sources = tuple(_source(name, section, recipe) for name, section in recipe.sources.items())
    across: list[ResolvedStep] = []
    for step in recipe.across:
        found, sources = _across(step, sources, across)
        across.append(found)
    resolved = ResolvedRecipe(recipe, sources, references, tuple(across))
    check(resolved)
    return resolved


def _source(name: str, section: Reference, recipe: Recipe) -> ResolvedSource:
    steps: list[ResolvedStep] = []
    floors = list(section.floors)
    for step in section.steps:
        where = f"{'sources' if name in recipe.sources else 'references'}.{name}.{step.name}"
        config = step.typed_config()
        stage = step.declared()
        edits = tuple(earlier.name for earlier in steps if earlier.edits_text)
        sees = _sees(where, step, edits)
        _require_first(f"{where}.sees", sees, edits)
        behind = _floors_before(floors, steps) if stage.kind is StageKind.annotate else ()
        reads: list[tuple[str, str]] = []
        for role in stage.reads(config):
            read = _read(where, step, role, config, steps, sees)
            if isinstance(read, ResolvedStep):
                read = replace(read, floors=_floors_before(floors, steps), reads={name: read.reads[""]})
                steps.append(read)
            reads.append((role, read if isinstance(read, str) else read.name))
        if step.against:
            raise Unresolved(f"{where}.against: list {step.name} in across, where it sees the documents of all sources")
        if any(earlier.name == step.name for earlier in steps):
            raise Unresolved(f"{where}: two steps have this name; rename one, with stage: {step.stage}")
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
        raise Unresolved(f"{where}: {stage.name} reads one document at a time; list it in the steps of the sources")
    if any(earlier.name == step.name for earlier in before) or any(source.step(step.name) for source in sources):
        raise Unresolved(f"{where}: a source has a step of this name; rename one, with stage: {stage.name}")
    edits = tuple(
        dict.fromkeys(
            [*(name for source in sources for name in source.edits), *(s.name for s in before if s.edits_text)]
        )
    )
    sees = _sees(where, step, edits)
    across_edits = {earlier.name for earlier in before if earlier.edits_text}
    reads: dict[str, tuple[tuple[str, str], ...]] = {}
    extended = []
    for source in sources:
        steps = list(source.steps)
        pairs: list[tuple[str, str]] = []
        # In the order of this source: another one may list the same steps in another order.
        own = tuple(name for name in source.edits if name in sees)
        _require_first(f"{where}.sees", own, source.edits)
        for role in stage.reads(config):
            read = _read(where, step, role, config, steps, own)
            if set(sees) & across_edits and _reads_text(read, steps):
                raise Unresolved(
                    f"{where}: it compares texts without the edits of {listed(tuple(across_edits))}, because {role} is "
                    f"computed earlier, in each source; set sees: {listed(own)}"
                )
            if isinstance(read, ResolvedStep):
                if any(earlier.name == read.name for earlier in before):
                    raise Unresolved(f"across.{read.name}: {step.name} adds a step of this name; rename it")
                floors = _floors_before(source.section.floors, steps)
                read = replace(read, floors=floors, reads={source.name: read.reads[""]})
                steps.append(read)
            pairs.append((role, read if isinstance(read, str) else read.name))
        reads[source.name] = tuple(pairs)
        extended.append(replace(source, steps=tuple(steps)))
    found = ResolvedStep(
        step.name, stage, config, sees, reads, (), step.model_name, step.survivors or DEFAULT_SURVIVORS, step.against
    )
    return found, tuple(extended)


def _sees(where: str, step: Step, edits: tuple[str, ...]) -> tuple[str, ...]:
    if step.sees is None:
        return edits
    if unknown := [name for name in step.sees if name not in edits]:
        raise Unresolved(
            f"{where}.sees: there is no step {unknown[0]} before it that edits text; these do: {listed(edits)}"
        )
    if step.declared().gives_edits and step.typed_config().edits_text and set(step.sees) != set(edits):
        raise Unresolved(f"{where}.sees: a step that edits text must see all edits before it: {listed(edits)}")
    return tuple(name for name in edits if name in step.sees)


def _require_first(where: str, sees: tuple[str, ...], edits: tuple[str, ...]) -> None:
    """An edit is about the text that its own step saw, so a later edit cannot be seen without the earlier ones."""
    if sees != edits[: len(sees)]:
        raise Unresolved(
            f"{where}: {sees[-1]} edits the output of {listed(edits[: edits.index(sees[-1])])}, so it cannot be seen "
            "without that; list all edits from the first"
        )


def _reads_text(read: str | ResolvedStep, steps: Sequence[ResolvedStep]) -> bool:
    found = read if isinstance(read, ResolvedStep) else next(step for step in steps if step.name == read)
    return found.stage.reads_text(found.config)


def _read(
    where: str, step: Step, role: str, config: StageConfig, steps: Sequence[ResolvedStep], sees: tuple[str, ...]
) -> str | ResolvedStep:
    """The step that a kernel means by `role`: one that is listed before it, or a new one that the stage implies."""
    stage = step.declared()
    named = step.reads.get(role)
    if named is not None:
        meant = next((earlier for earlier in steps if earlier.name == named), None)
        if meant is None or meant.stage.name != role:
            raise Unresolved(f"{where}.reads: {named} is not a step of the stage {role} before it")
        if role in stage.implied and (meant.config != stage.implied[role](config) or meant.sees != sees):
            raise Unresolved(f"{where}.reads: {named} has another config, or sees other edits, than {step.name} needs")
        return named
    found = [earlier for earlier in steps if earlier.stage.name == role]
    implied = stage.implied[role](config) if role in stage.implied else None
    if implied is not None:
        found = [earlier for earlier in found if earlier.config == implied and earlier.sees == sees]
    if len(found) > 1:
        names = ", ".join(earlier.name for earlier in found)
        raise Unresolved(
            f"{where}: it reads {role}, but {names} are steps of that stage; choose one: reads: {{{role}: ...}}"
        )
    if found:
        return found[0].name
    if implied is None:
        raise Unresolved(f"{where}: {stage.name} reads {role}, but no step of that stage is before it; add {role}")
    maker = find_stage(role, StageKind.annotate)
    if maker.reads(implied):
        raise Unresolved(f"{where}: {role} reads other steps itself; list it before {step.name}")
    name = f"{step.name}_{role}"
    if any(earlier.name == name for earlier in steps):
        raise Unresolved(f"{where}: it adds a step {name}, but one of that name has another config; rename that one")
    return ResolvedStep(name, maker, implied, sees if maker.reads_text(implied) else (), {"": ()})


def _floors_before(floors: Sequence[Threshold], steps: Sequence[ResolvedStep]) -> tuple[Threshold, ...]:
    names = {step.name for step in steps}
    return tuple(floor for floor in floors if floor.step in names)
