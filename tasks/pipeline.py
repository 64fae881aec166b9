"""Turns a resolved recipe into the tasks of its build. Pure: uses neither Prefect nor a lake.

Names of artifacts: ``SOURCE/documents``, ``ids``, ``SOURCE/STEP``, ``across/STEP``, ``models/NAME``, ``index``,
``SOURCE/rules``, ``groups``, ``outcomes``, ``SOURCE/corpus``, ``tokenizer``, ``SOURCE/encode``, ``tokens``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from infra.engine.fit_groups import FitGroupsPlan
from infra.engine.graph import BuildTask, Made
from infra.engine.grouped import GroupedPlan
from infra.engine.partitioned import PartitionedPlan
from infra.engine.plans import ConfiguredStage, FitPlan, PassPlan, Plan, SelectPlan, SourcePlan
from infra.engine.units import Floor
from infra.models import NO_MODEL, ModelFiles, fitted_model, local_model
from infra.stage import Stage, StageConfig, StageKind
from infra.store.digests import key_of
from infra.store.inputs import InputFile, pinned_inventory
from infra.store.lake import Lake
from tasks.corpus.duplicates import DuplicatesStep, comparison_of, joins_clusters, reason_of
from tasks.corpus.groups import GROUPS, GroupsConfig, groups
from tasks.corpus.ids import IDS, IdsConfig, ids
from tasks.corpus.index import IndexConfig, index
from tasks.corpus.known import EarlierBuilds, KnownDocuments, known_documents
from tasks.corpus.outcomes import OutcomesConfig, outcomes
from tasks.corpus.rules import Floor as RulesFloor
from tasks.corpus.rules import RulesConfig, apply_rules
from tasks.corpus.selection import CorpusConfig, select_documents
from tasks.encoding.forms import files_of_tokenizer
from tasks.model_files import model_files
from tasks.recipe.fits import before_models, fit_reads
from tasks.recipe.passes import passes
from tasks.recipe.resolved import FLOOR, ResolvedRecipe, ResolvedSource, ResolvedStep
from tasks.recipe.schema import Recipe, Source
from tasks.recipe.view_spec import ViewSpec, is_of_all, needs_of
from tasks.stages import module_of
from tasks.tokens import EncodeConfig, TokensConfig, encode, write_tokens


def build_tasks(
    resolved: ResolvedRecipe, pin: str | None = None, known: KnownDocuments = known_documents
) -> list[BuildTask]:
    """The tasks of a build, each after the tasks that it needs. `pin` is that of `infra.store.inputs`.

    `known` finds the documents of the earlier builds with which this one is compared.
    """
    return [*corpus_tasks(resolved, pin, known), *token_tasks(resolved.recipe)]


def corpus_tasks(
    resolved: ResolvedRecipe, pin: str | None = None, known: KnownDocuments = known_documents
) -> list[BuildTask]:
    """The tasks from input files to the corpus of each source, and the index."""
    return list(_Pipeline(resolved, pin, known).corpus())


def token_tasks(recipe: Recipe) -> list[BuildTask]:
    """The tasks from the corpus of each source to tokens."""
    corpora = [ViewSpec(name, f"{name}/corpus") for name in recipe.sources]
    fitted = recipe.tokenizer.file is None
    tasks = []
    if fitted:
        tasks.append(_fit_task("tokenizer", "tokenizer", *recipe.tokenizer.fitted(), corpora))

    def tokenizer(made: Made) -> ModelFiles:
        return (
            fitted_model(made["tokenizer"])
            if fitted
            else local_model(files_of_tokenizer(Path(str(recipe.tokenizer.file))))
        )

    needs = ("tokenizer",) if fitted else ()
    encoding = EncodeConfig(end_of_document=recipe.tokenizer.end_of_document)
    for spec in corpora:
        tasks.append(
            BuildTask(
                f"{spec.source}: encode",
                (f"{spec.source}/encode",),
                (*needs, *spec.needs),
                functools.partial(_plan_encode, spec, encoding, tokenizer),
                (module_of(encode),),
            )
        )
    config_of_tokens = TokensConfig(
        end_of_document=recipe.tokenizer.end_of_document,
        mixture=recipe.shares(),
        epochs=recipe.epochs(),
        parts=tuple(name for name, source in recipe.sources.items() if source.parts),
        splits={name: source.split for name, source in recipe.sources.items() if source.split is not None},
        **recipe.tokens.model_dump(),
    )
    encoded = [
        ViewSpec(spec.source, spec.documents, annotations=(("encode", f"{spec.source}/encode"),)) for spec in corpora
    ]

    def plan_tokens(lake: Lake, made: Made) -> Plan:
        configured = ConfiguredStage(write_tokens, config_of_tokens, tokenizer(made))
        return GroupedPlan(configured, tuple(spec.view(made) for spec in encoded))

    all_needs = (*needs, *needs_of(encoded))
    tasks.append(BuildTask("tokens", ("tokens",), all_needs, plan_tokens, (module_of(write_tokens),), used=True))
    return tasks


class _Pipeline:
    """Builds the tasks of a recipe, source by source."""

    def __init__(self, resolved: ResolvedRecipe, pin: str | None, known: KnownDocuments) -> None:
        self._resolved, self._recipe, self._pin = resolved, resolved.recipe, pin
        self._order = tuple(f"{source.name}/documents" for source in resolved.sources)
        self._across = {step.name for step in resolved.across}
        self._earlier = EarlierBuilds(resolved.across, known)

    def corpus(self) -> Iterator[BuildTask]:
        sources = self._resolved.sources
        origins = (*self._resolved.references, *sources)
        for origin in origins:
            yield self._read(origin)
        for reference in self._resolved.references:
            yield self._ids(f"{reference.name}: ids", (reference,))
        yield self._ids("ids", sources)
        # A model is fitted on the state of a source before its first step that uses a fitted model, so these tasks
        # need no model.
        rest: list[BuildTask] = []
        for origin in origins:
            waiting = False
            for steps in passes(origin, self._recipe.models):
                waiting = waiting or any(step.model in self._recipe.models for step in steps)
                task = self._steps(origin, steps)
                if waiting:
                    rest.append(task)
                else:
                    yield task
        for name in self._recipe.models:
            yield self._fit(name)
        yield from rest
        for step in self._resolved.across:
            yield from self._earlier.tasks(step)
            yield self._partitioned(step)
        yield self._index()
        for source in sources:
            yield self._rules(source)
        if joins_clusters(self._duplicates()):
            yield self._groups()
        yield self._outcomes()
        for source in sources:
            yield self._select(source)

    def _read(self, origin: ResolvedSource) -> BuildTask:
        reader = origin.section.read
        configured = ConfiguredStage(reader.declared(), origin.section.reader_config(origin.name))

        @functools.cache
        def files(lake: Lake) -> tuple[InputFile, ...]:
            # Once per build: a retry must read the same list of files as the first attempt.
            pin = self._pin and key_of([self._pin, self._recipe.name, origin.name, [*origin.section.inputs]])
            return pinned_inventory(lake, origin.section.inputs, pin)

        def plan(lake: Lake, made: Made) -> Plan:
            return SourcePlan(configured, files(lake))

        name = f"{origin.name}/documents"
        return BuildTask(f"{origin.name}: {reader.stage}", (name,), (), plan, (module_of(configured.stage),))

    def _ids(self, task: str, origins: Sequence[ResolvedSource]) -> BuildTask:
        specs = [self._view(origin, (), ()) for origin in origins]

        def plan(lake: Lake, made: Made) -> Plan:
            return PartitionedPlan(ConfiguredStage(ids, IdsConfig()), tuple(spec.view(made) for spec in specs))

        return BuildTask(task, (self._artifact(origins[0], IDS),), needs_of(specs), plan, (module_of(ids),))

    def _steps(self, origin: ResolvedSource, steps: tuple[ResolvedStep, ...]) -> BuildTask:
        first = steps[0]
        annotations = dict(pair for step in steps for pair in step.reads[origin.name])
        spec = self._view(
            origin,
            first.sees if any(step.stage.reads_text(step.config) for step in steps) else (),
            [*annotations.items(), *((FLOOR + floor.step, floor.step) for floor in first.floors)],
            first.engine_floors(),
            unique=first.stage.kind is StageKind.partitioned,
        )
        models = tuple(f"models/{step.model}" for step in steps if step.model in self._recipe.models)

        def plan(lake: Lake, made: Made) -> Plan:
            configured = tuple(ConfiguredStage(step.stage, step.config, self._model(step, made)) for step in steps)
            view = spec.view(made)
            if first.stage.kind is StageKind.partitioned:
                return PartitionedPlan(configured[0], (view,))
            return PassPlan(configured, view)

        return BuildTask(
            f"{origin.name}: {' + '.join(step.name for step in steps)}",
            tuple(f"{origin.name}/{step.name}" for step in steps),
            (*spec.needs, *models),
            plan,
            tuple(module_of(step.stage) for step in steps),
        )

    def _fit(self, name: str) -> BuildTask:
        model = self._recipe.models[name]
        stage, config = model.declared(), model.typed_config()
        specs = []
        for origin in map(self._resolved.origin, model.on):
            ready = before_models(origin, self._recipe)
            edits = tuple(step.name for step in ready if step.edits_text)
            pairs = fit_reads(name, origin, self._recipe)
            specs.append(self._view(origin, edits if stage.reads_text(config) else (), pairs, unique=True))
        return _fit_task(f"fit {name}", f"models/{name}", stage, config, specs)

    def _partitioned(self, step: ResolvedStep) -> BuildTask:
        specs = [
            self._view(
                source,
                tuple(name for name in self._resolved.edits(source) if name in step.sees),
                list(step.reads[source.name]),
                unique=True,
            )
            for source in self._resolved.sources
        ]
        models = (f"models/{step.model}",) if step.model in self._recipe.models else ()

        def plan(lake: Lake, made: Made) -> Plan:
            configured = ConfiguredStage(step.stage, step.config, self._model(step, made))
            earlier = self._earlier.compared(lake, made, step)
            return PartitionedPlan(configured, (*(spec.view(made) for spec in specs), *earlier))

        needs = (*models, *needs_of(specs), *self._earlier.needs(step))
        return BuildTask(f"all sources: {step.name}", (f"across/{step.name}",), needs, plan, (module_of(step.stage),))

    def _index(self) -> BuildTask:
        specs = [ViewSpec(source.name, f"{source.name}/documents") for source in self._resolved.sources]

        def plan(lake: Lake, made: Made) -> Plan:
            return PartitionedPlan(ConfiguredStage(index, IndexConfig()), tuple(spec.view(made) for spec in specs))

        return BuildTask("index", ("index",), needs_of(specs), plan, (module_of(index),))

    def _rules(self, source: ResolvedSource) -> BuildTask:
        section = source.section
        assert isinstance(section, Source)
        edits = self._resolved.edits(source)
        floors = tuple(
            RulesFloor(**floor.model_dump(), steps=source.skipped_by(floor))
            for floor in section.floors
            if source.skipped_by(floor)
        )
        config = RulesConfig(rules=section.rules, edits=edits, floors=floors)
        asked = [*(one for rule in section.rules for one in rule.thresholds), *section.floors]
        looked_at = [*edits, *(threshold.step for threshold in asked)]
        spec = self._view(source, (), [(name, name) for name in dict.fromkeys(looked_at)])

        def plan(lake: Lake, made: Made) -> Plan:
            return PassPlan((ConfiguredStage(apply_rules, config),), spec.view(made))

        name = f"{source.name}/rules"
        return BuildTask(f"{source.name}: rules", (name,), spec.needs, plan, (module_of(apply_rules),))

    def _duplicates(self) -> tuple[DuplicatesStep, ...]:
        """The steps that group duplicates, those of one source before those across."""
        within = [(step, source.name) for source in self._resolved.sources for step in source.steps]
        across = [(step, None) for step in self._resolved.across]
        return tuple(
            DuplicatesStep(
                step=step.name,
                reason=reason_of(step.config),
                survivors=step.survivors,
                source=source,
                compare=comparison_of(step.config),
            )
            for step, source in [*within, *across]
            if step.stage.gives_clusters
        )

    def _groups(self) -> BuildTask:
        steps = self._duplicates()
        specs = self._beside([step.step for step in steps])

        def plan(lake: Lake, made: Made) -> Plan:
            configured = ConfiguredStage(groups, GroupsConfig(duplicates=steps))
            views = [spec.view(made) for spec in specs]
            return PartitionedPlan(configured, (*views, *self._earlier.behind(lake, made, views, ())))

        return BuildTask(GROUPS, (GROUPS,), needs_of(specs), plan, (module_of(groups),))

    def _outcomes(self) -> BuildTask:
        config = OutcomesConfig(duplicates=self._duplicates())
        joined = [GROUPS] if joins_clusters(config.duplicates) else []
        specs = self._beside(["rules", IDS, *(step.step for step in config.duplicates), *joined])

        def plan(lake: Lake, made: Made) -> Plan:
            views = [spec.view(made) for spec in specs]
            earlier = self._earlier.behind(lake, made, views, joined)
            return PartitionedPlan(ConfiguredStage(outcomes, config), (*views, *earlier))

        return BuildTask("outcomes", ("outcomes",), needs_of(specs), plan, (module_of(outcomes),))

    def _beside(self, names: Sequence[str]) -> list[ViewSpec]:
        """A view of each source with the annotations of those steps that it goes through."""
        of_all = ("rules", IDS, GROUPS)
        return [
            self._view(
                source,
                (),
                [(name, name) for name in dict.fromkeys(names) if name in of_all or self._resolved.step(source, name)],
            )
            for source in self._resolved.sources
        ]

    def _select(self, source: ResolvedSource) -> BuildTask:
        edits = self._resolved.edits(source)
        section = source.section
        assert isinstance(section, Source)
        bins = section.bins()
        config = CorpusConfig(edits=edits, clusters=self._recipe.tokens.validation > 0, bins=bins)
        cut = [] if bins is None else [(bins.column.partition(".")[0],) * 2]
        spec = self._view(source, edits, [("rules", "rules"), ("outcomes", "outcomes"), *cut])

        def plan(lake: Lake, made: Made) -> Plan:
            return SelectPlan(ConfiguredStage(select_documents, config), spec.view(made))

        name = f"{source.name}/corpus"
        return BuildTask(f"{source.name}: corpus", (name,), spec.needs, plan, (module_of(select_documents),), used=True)

    def _view(
        self,
        origin: ResolvedSource,
        edits: Iterable[str],
        annotations: Sequence[tuple[str, str]],
        floors: tuple[Floor, ...] = (),
        unique: bool = False,
    ) -> ViewSpec:
        """A view of a source; `annotations` map the names that a kernel uses to steps.

        A `unique` one leaves out documents that repeat an id: what compares documents, or counts them in a model, must
        not see the same one twice.
        """
        if unique:
            annotations = [*annotations, (FLOOR + IDS, IDS)]
            floors = (*floors, Floor(f"{FLOOR}{IDS}.copy", at_most=0))
        documents = f"{origin.name}/documents"
        named = [(name, self._artifact(origin, name)) for name in edits]
        beside = [(alias, self._artifact(origin, step)) for alias, step in annotations]
        of_all = any(is_of_all(artifact) for _, artifact in (*named, *beside))
        before = self._order[: self._order.index(documents)] if of_all else ()
        return ViewSpec(origin.name, documents, tuple(named), tuple(beside), floors, before)

    def _artifact(self, origin: ResolvedSource, step: str) -> str:
        if step in ("outcomes", GROUPS) or (step == IDS and origin in self._resolved.sources):
            return step
        return f"across/{step}" if step in self._across else f"{origin.name}/{step}"

    def _model(self, step: ResolvedStep, made: Made) -> ModelFiles:
        if step.model is None or step.stage.load is None:
            return NO_MODEL
        if step.model in self._recipe.models:
            return fitted_model(made[f"models/{step.model}"])
        return model_files(step.stage, step.model)


def _fit_task(task: str, name: str, stage: Stage, config: StageConfig, specs: Sequence[ViewSpec]) -> BuildTask:
    def plan(lake: Lake, made: Made) -> Plan:
        configured, views = ConfiguredStage(stage, config), tuple(spec.view(made) for spec in specs)
        return FitGroupsPlan(configured, views) if "group" in stage.steps else FitPlan(configured, views)

    return BuildTask(task, (name,), needs_of(specs), plan, (module_of(stage),))


def _plan_encode(
    spec: ViewSpec, config: EncodeConfig, tokenizer: Callable[[Made], ModelFiles], lake: Lake, made: Made
) -> Plan:
    return PassPlan((ConfiguredStage(encode, config, tokenizer(made)),), spec.view(made))
