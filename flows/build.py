"""From sources to tokens: the order of the line's data half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows import parameters
from flows.recipe import READERS, LanguageSection, Recipe, RecipeError, SourceSection, load_recipe
from infra.builds import BuildRecord, write_build
from infra.engine.choice import open_engine
from infra.engine.documents import join_sources
from infra.engine.partitioned import PartitionedPlan
from infra.engine.plans import Call, FitPlan, PassPlan, SourcePlan
from infra.funnel import corpus_funnel
from infra.models import ModelFiles, bundled_model, fitted_model, local_model
from infra.orchestration import Line
from infra.progress import report_progress
from infra.report.artifacts import publish_ledger
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from infra.store.ledger import BooksDoNotBalance
from infra.store.manifest import Manifest
from infra.store.names import Reference, point
from tasks.corpus import CorpusConfig, corpus
from tasks.heuristics import measure_heuristics
from tasks.index import IndexConfig, build_index
from tasks.language import LanguageConfig, identify_language
from tasks.language_models import LanguageModelsConfig, fit_language_models
from tasks.near_duplicates import near_duplicates
from tasks.paragraphs import paragraphs
from tasks.perplexity import score_perplexity
from tasks.signatures import SignatureConfig, signatures
from tasks.tokenizer import TOKENIZER_FILE, TokenizerConfig, fit_tokenizer
from tasks.tokens import EncodeConfig, TokensConfig, encode, read_summary, write_tokens


@flow(name="build-corpus", log_prints=True)
def build_corpus(
    recipe: Annotated[str, Field(description="A recipe of ours by name, or a YAML file.")] = "crawl",
    inputs: parameters.Inputs = None,
    lake: parameters.Lake = "lake",
    workers: parameters.Workers = 2,
    settings: parameters.Settings = None,
    cluster: Annotated[str | None, Field(description="A Ray cluster, such as ray://head:10001.")] = None,
) -> dict[str, Any]:
    """Build a corpus and its tokens from a recipe; what the lake already has is not made again."""
    chosen = load_recipe(recipe, settings or [], inputs or [])
    with open_engine(workers, cluster, stage_modules(chosen)) as engine:
        line = Line(Lake.open(lake), engine, report_progress, chosen.most_failures, chosen.failures_allowed)
        record = make_corpus(line, chosen)
    publish_ledger(record)
    return asdict(record)


@dataclass(frozen=True)
class Beside:
    """What has been written beside the documents so far: edits, annotations by stage, and models fitted on the way."""

    documents: Manifest
    edits: tuple[Manifest, ...] = ()
    annotations: tuple[tuple[str, Manifest], ...] = ()
    fitted: tuple[tuple[str, Manifest], ...] = ()

    def only(self, names: Sequence[str]) -> tuple[tuple[str, Manifest], ...]:
        """The annotations of the stages named, where there are any."""
        return tuple(item for item in self.annotations if item[0] in names)

    def with_annotations(self, manifests: Sequence[Manifest]) -> Beside:
        """The same with more annotations."""
        added = tuple((manifest.stage, manifest) for manifest in manifests)
        return replace(self, annotations=self.annotations + added)


def stage_modules(recipe: Recipe) -> list[str]:
    """The modules whose kernels a build of this recipe will call."""
    stages = [READERS[source.reader] for source in recipe.sources]
    stages += [paragraphs] if recipe.paragraphs else []
    stages += [identify_language] if recipe.language else []
    stages += [measure_heuristics] if recipe.heuristics else []
    stages += [score_perplexity] if recipe.perplexity else []
    stages += [signatures, near_duplicates] if recipe.near_duplicates else []
    return sorted({stage.reference.partition(":")[0] for stage in [*stages, corpus, encode]})


def make_corpus(line: Line, recipe: Recipe) -> BuildRecord:
    """The whole line of a recipe; call it inside a Prefect flow."""
    sources = [_read_source(line, source) for source in recipe.sources]
    beside = Beside(join_sources(line.lake, sources))
    beside = _strike_paragraphs(line, recipe, beside)
    beside = _annotate(line, recipe, beside)
    beside = _find_near_duplicates(line, recipe, beside)
    index = line.make(FitPlan(Call(build_index, IndexConfig()), beside.documents))[0]
    selected = _select(line, recipe, beside)
    tokens = make_tokens(line, recipe, selected)
    made = {f"source/{section.name}": manifest for section, manifest in zip(recipe.sources, sources, strict=True)}
    annotations = [manifest for _, manifest in beside.annotations]
    later = [beside.documents, *annotations, index, selected, *tokens.manifests]
    made |= {**dict(beside.fitted), **{manifest.stage: manifest for manifest in later}}
    return _record(line, recipe, made, tokens)


@dataclass(frozen=True)
class Tokens:
    """Token files, what they were made with, and how many tokens they hold."""

    tokens: Manifest
    manifests: tuple[Manifest, ...]
    count: int


def make_tokens(line: Line, recipe: Recipe, selected: Manifest) -> Tokens:
    """The tokens of a corpus: its tokenizer fitted or loaded, every document encoded, one pair of files per source."""
    fitted, tokenizer = _tokenizer(line, recipe, selected)
    [encoded] = line.make(PassPlan((Call(encode, EncodeConfig(), tokenizer),), selected))
    config = TokensConfig(mixture=recipe.share_of(), **recipe.tokens.model_dump())
    call = Call(write_tokens, config, tokenizer)
    [tokens] = line.make(FitPlan(call, selected, annotations=(("encode", encoded),)))
    sources = read_summary(line.lake, tokens)["sources"]
    written = sum(source["documents"] for source in sources.values())
    if written != selected.rows:
        raise BooksDoNotBalance(f"the corpus has {selected.rows} documents, its token files hold {written}")
    return Tokens(tokens, (*fitted, encoded, tokens), sum(source["tokens"] for source in sources.values()))


def _read_source(line: Line, source: SourceSection) -> Manifest:
    stage = READERS[source.reader]
    config = stage.config.model_validate({**source.config, "source": source.name})
    if not source.inputs:
        raise RecipeError(
            f"the source {source.name} has no inputs: give --input PATH_OR_GLOB, or set them in the recipe"
        )
    inventory = take_inventory(line.lake, source.inputs)
    return line.make(SourcePlan(Call(stage, config), inventory.files))[0]


def _strike_paragraphs(line: Line, recipe: Recipe, beside: Beside) -> Beside:
    if recipe.paragraphs is None:
        return beside
    [struck] = line.make(PartitionedPlan(Call(paragraphs, recipe.paragraphs), beside.documents))
    return Beside(beside.documents, (struck,), (("paragraphs", struck),))


def _annotate(line: Line, recipe: Recipe, beside: Beside) -> Beside:
    """Everything that is found out row by row, in as few reads of the text as models and floors allow."""
    first: list[Call] = []
    second: list[Call] = []
    if recipe.language is not None:
        first.append(_language_call(recipe.language))
    if recipe.heuristics is not None:
        first.append(Call(measure_heuristics, recipe.heuristics))
    if recipe.near_duplicates is not None:
        names = set(SignatureConfig.model_fields)
        shingles = SignatureConfig.model_validate(recipe.near_duplicates.model_dump(include=names))
        (second if recipe.floors else first).append(Call(signatures, shingles))
    if first:
        beside = beside.with_annotations(line.make(PassPlan(tuple(first), beside.documents, beside.edits)))
    if recipe.language_models is not None and recipe.perplexity is not None:
        made = _fit_language_models(line, recipe, recipe.language_models, beside)
        beside = replace(beside, fitted=made)
        models = made[-1][1]
        second.append(Call(score_perplexity, recipe.perplexity, fitted_model(models)))
    if second:
        floors = tuple(section.floor() for section in recipe.floors)
        read = beside.only(["language", "heuristics"])
        plan = PassPlan(tuple(second), beside.documents, beside.edits, read, floors)
        beside = beside.with_annotations(line.make(plan))
    return beside


def _fit_language_models(
    line: Line, recipe: Recipe, config: LanguageModelsConfig, beside: Beside
) -> tuple[tuple[str, Manifest], ...]:
    """The models, and before them what they were fitted on where the recipe names reference sources."""
    fitted_on = beside
    reference: tuple[tuple[str, Manifest], ...] = ()
    if recipe.reference and recipe.language is not None:
        fitted_on = Beside(join_sources(line.lake, [_read_source(line, source) for source in recipe.reference]))
        language = _language_call(recipe.language)
        fitted_on = fitted_on.with_annotations(line.make(PassPlan((language,), fitted_on.documents)))
        read = [fitted_on.documents, *(manifest for _, manifest in fitted_on.annotations)]
        reference = tuple((f"reference/{manifest.stage}", manifest) for manifest in read)
    call = Call(fit_language_models, config)
    plan = FitPlan(call, fitted_on.documents, fitted_on.edits, fitted_on.only(["language"]))
    return (*reference, ("language_models", line.make(plan)[0]))


def _language_call(section: LanguageSection) -> Call:
    config = LanguageConfig.model_validate(section.model_dump(exclude={"model"}))
    return Call(identify_language, config, _model(section.model))


def _find_near_duplicates(line: Line, recipe: Recipe, beside: Beside) -> Beside:
    if recipe.near_duplicates is None:
        return beside
    call = Call(near_duplicates, recipe.near_duplicates)
    made = line.make(PartitionedPlan(call, beside.documents, beside.edits, beside.only(["signatures"])))
    return beside.with_annotations(made)


def _select(line: Line, recipe: Recipe, beside: Beside) -> Manifest:
    if recipe.near_duplicates is None or recipe.survivors == ("all",):
        config = CorpusConfig(rules=recipe.rules, near_duplicates=False)
    else:
        config = CorpusConfig(rules=recipe.rules, survivors=recipe.survivors)
    # Only what decides the result: a model fitted anew must not remake a corpus that does not ask for its scores.
    read = beside.only(["paragraphs", "near_duplicates", *(rule.stage for rule in recipe.rules)])
    return line.make(PartitionedPlan(Call(corpus, config), beside.documents, beside.edits, read))[0]


def _tokenizer(line: Line, recipe: Recipe, selected: Manifest) -> tuple[list[Manifest], ModelFiles]:
    if recipe.tokenizer.file is not None:
        return [], local_model({TOKENIZER_FILE: Path(recipe.tokenizer.file)})
    config = TokenizerConfig.model_validate(recipe.tokenizer.model_dump(exclude={"file"}))
    fitted = line.make(FitPlan(Call(fit_tokenizer, config), selected))
    return fitted, fitted_model(fitted[0])


def _model(name: str) -> ModelFiles:
    kind, _, bundled = name.partition(":")
    if kind == "bundled":
        return bundled_model(bundled)
    return local_model({Path(name).name: Path(name)})


def _record(line: Line, recipe: Recipe, made: dict[str, Manifest], tokens: Tokens) -> BuildRecord:
    selected = made["corpus"]
    stages = ["documents", *(["paragraphs"] if recipe.paragraphs else [])]
    stages += [stage for stage in dict.fromkeys(rule.stage for rule in recipe.rules) if stage not in stages]
    if recipe.near_duplicates is not None and "near_duplicates" not in stages:
        stages.append("near_duplicates")
    funnel = corpus_funnel(made["documents"].account, selected.account, stages, selected.rows)
    record = BuildRecord.make(
        recipe.model_dump(mode="json"),
        made,
        ledger=[entry.to_json() for entry in funnel],
        documents=selected.rows,
        tokens=tokens.count,
    )
    write_build(line.lake, record)
    point(line.lake, f"corpus/{recipe.name}", Reference("build", record.key, record.digest))
    return record
