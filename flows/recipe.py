"""Recipes: YAML files that say what a corpus is made of, checked before any work starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pydantic

from flows.model_files import language_model_faults, tokenizer_faults
from flows.settings import RecipeError, problems_of, read_mapping, refusal, replace_value
from infra.engine.pieces import Floor
from infra.stage import Stage
from tasks.candidates import NearDuplicateConfig
from tasks.corpus import Rule
from tasks.heuristics import HeuristicsConfig, measure_heuristics
from tasks.language import LanguageConfig, identify_language
from tasks.language_models import LanguageModelsConfig
from tasks.near_duplicates import near_duplicates
from tasks.paragraphs import ParagraphConfig, paragraphs
from tasks.perplexity import PerplexityConfig, score_perplexity
from tasks.sources.jsonl import read_json_lines
from tasks.sources.warc import read_web_archive
from tasks.sources.wet import read_wet
from tasks.tokenizer import TokenizerConfig

RECIPES = Path(__file__).parent / "recipes"
READERS: dict[str, Stage] = {"web_archive": read_web_archive, "wet": read_wet, "jsonl": read_json_lines}
_COLUMNS: dict[str, Stage] = {
    "paragraphs": paragraphs,
    "language": identify_language,
    "heuristics": measure_heuristics,
    "perplexity": score_perplexity,
    "near_duplicates": near_duplicates,
}


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class SourceSection(_Section):
    """One source: the files it reads, how, and its share of training in tokens."""

    name: str = pydantic.Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    reader: Literal["web_archive", "wet", "jsonl"]
    inputs: tuple[str, ...] = ()
    config: dict[str, Any] = pydantic.Field(default_factory=dict)
    share: float = pydantic.Field(1.0, gt=0)

    @pydantic.model_validator(mode="after")
    def _reader_understands(self) -> SourceSection:
        known = READERS[self.reader].config
        names = [name for name in known.model_fields if name != "source"]
        if unknown := sorted(set(self.config) - set(names)):
            raise ValueError(f"config of {self.name}: {self.reader} has no {unknown[0]}; it has {', '.join(names)}")
        try:
            known.model_validate({**self.config, "source": self.name})
        except pydantic.ValidationError as error:
            raise ValueError(f"config of {self.name}: " + "; ".join(problems_of(error))) from error
        return self


class FloorSection(_Section):
    """Documents outside this are not read by the stages behind the floor's own. A threshold must imply it."""

    stage: Literal["language", "heuristics"]
    column: str
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] | None = None

    def floor(self) -> Floor:
        """As the engine knows it."""
        return Floor(f"{self.stage}.{self.column}", self.at_least, self.at_most, self.one_of)


class LanguageSection(LanguageConfig):
    """Language identification and its model: a bundled one, or the path of a fastText file."""

    model: str = "bundled:lid.176.ftz"


class TokenizerSection(TokenizerConfig):
    """A tokenizer file to load, or the config of the one to fit."""

    file: str | None = None


class TokensSection(_Section):
    """What is cut off from training: every n-th document for evaluation, and a share of the clusters for validation."""

    held_out_every: int = pydantic.Field(0, ge=0)
    validation: float = pydantic.Field(0.0, ge=0, lt=1)


class Recipe(_Section):
    """A corpus: sources, what is found out about their documents, and which of them stay.

    `reference` names sources of text that is known to be good, such as Wikipedia: the language models are fitted on
    it, and it is no part of the corpus. Without it they are fitted on the documents themselves.

    Of a cluster of near-duplicates one member stays, the first in the order of `survivors`; with ``[all]`` all stay, as
    in the Pile that Pythia was first trained on.
    """

    name: str = pydantic.Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    sources: tuple[SourceSection, ...] = pydantic.Field(min_length=1)
    reference: tuple[SourceSection, ...] = ()
    paragraphs: ParagraphConfig | None = None
    language: LanguageSection | None = None
    heuristics: HeuristicsConfig | None = None
    language_models: LanguageModelsConfig | None = None
    perplexity: PerplexityConfig | None = None
    near_duplicates: NearDuplicateConfig | None = None
    floors: tuple[FloorSection, ...] = ()
    rules: tuple[Rule, ...] = ()
    survivors: tuple[Literal["longest", "shortest", "earliest", "latest", "first", "all"], ...] = (
        "longest",
        "earliest",
    )
    most_failures: float = pydantic.Field(0.05, ge=0, le=1)
    failures_allowed: int = pydantic.Field(100, ge=0)
    tokenizer: TokenizerSection = pydantic.Field(default_factory=TokenizerSection)
    tokens: TokensSection = pydantic.Field(default_factory=TokensSection)

    @pydantic.model_validator(mode="after")
    def _holds_together(self) -> Recipe:
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"sources: two of {names} have the same name")
        if (self.perplexity is None) != (self.language_models is None):
            raise ValueError("perplexity and language_models come together: the one scores with what the other fits")
        if self.reference and self.language_models is None:
            raise ValueError("reference: the recipe fits no language_models on it")
        if self.language_models is not None and self.language is None:
            raise ValueError("language_models: models are fitted per language, so the recipe needs language")
        if "all" in self.survivors and len(self.survivors) > 1:
            raise ValueError(f"survivors: where all stay there is nothing to choose by, but these are {self.survivors}")
        if self.tokens.validation > 0 and self.near_duplicates is None:
            raise ValueError(
                "tokens.validation: the recipe looks for no near_duplicates, so copies of a validation document could "
                "be trained on; add near_duplicates (and survivors: [all], if copies are to stay)"
            )
        reasons = [rule.reason for rule in self.rules]
        if len(set(reasons)) < len(reasons):
            raise ValueError(f"rules: every rule needs a reason of its own, and these are {reasons}")
        for rule in self.rules:
            _check_threshold(self, "rules." + rule.reason, rule)
        for floor in self.floors:
            _check_threshold(self, "floors", floor)
            if not any(_implies(rule, floor) for rule in self.rules):
                raise ValueError(
                    f"floors: no rule is at least as strict as the floor on {floor.stage}.{floor.column}, so documents "
                    "below it would be kept unscored. Tighten the rule, or loosen the floor: then the stages behind "
                    f"{floor.stage} score the documents between the two."
                )
        return self

    def share_of(self) -> dict[str, float]:
        """The mixture: source → share of tokens, summing to 1."""
        total = sum(source.share for source in self.sources)
        return {source.name: source.share / total for source in self.sources}


def load_recipe(name: str, settings: Iterable[str] = (), inputs: Iterable[str] = ()) -> Recipe:
    """The recipe in a YAML file, or one of our own by name, with values replaced.

    The files of models that it names are opened, so that a wrong one is told now and not after hours of work.
    `settings` are ``KEY=VALUE`` with a dotted key, such as ``near_duplicates.threshold=0.7`` or, for members of
    lists, their name, reason or number: ``rules.low_language_score.at_least=0.6``. `inputs` replace those of the
    recipe's only source. Raises RecipeError.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.yaml")))
        raise RecipeError(f"there is no recipe {name}: give a YAML file, or one of {known}")
    values = read_mapping(path, "a recipe")
    for setting in settings:
        replace_value(values, setting)
    given = list(inputs)
    if given:
        sources = values.get("sources")
        if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], dict):
            raise RecipeError(f"{path} has not one source alone: set inputs with --set sources.NAME.inputs=[...]")
        sources[0]["inputs"] = given
    recipe = parse_recipe(values, str(path))
    faults = [] if recipe.language is None else language_model_faults(recipe.language.model)
    _refuse(str(path), faults + tokenizer_faults(recipe.tokenizer.file))
    return recipe


def parse_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """The recipe in a mapping. Raises RecipeError naming every value that is wrong and what is allowed."""
    try:
        return Recipe.model_validate(values)
    except pydantic.ValidationError as error:
        raise RecipeError(refusal(where, "a recipe that can be built", problems_of(error, "recipe"))) from error


def with_tokens(
    values: Mapping[str, Any], tokenizer: str | None, vocabulary_size: int | None, held_out_every: int | None
) -> Recipe:
    """The recipe of a build with another tokenizer, from a file or to be fitted, or another part held out.

    Raises RecipeError naming what is wrong, such as a file that is no tokenizer.
    """
    if tokenizer is not None and vocabulary_size is not None:
        raise RecipeError("a tokenizer from a file has its vocabulary: give the file, or the size of one to fit")
    changed = dict(values)
    if tokenizer is not None:
        changed["tokenizer"] = {"file": tokenizer}
    elif vocabulary_size is not None:
        changed["tokenizer"] = {"vocabulary_size": vocabulary_size}
    if held_out_every is not None:
        changed["tokens"] = {**values.get("tokens", {}), "held_out_every": held_out_every}
    where = f"the changed recipe {values['name']}"
    recipe = parse_recipe(changed, where)
    # Files that the corpus was made with may be gone: it is not made again.
    _refuse(where, tokenizer_faults(recipe.tokenizer.file))
    return recipe


def _refuse(where: str, faults: list[str]) -> None:
    if faults:
        raise RecipeError(refusal(where, "a recipe that can be built", faults))


def _check_threshold(recipe: Recipe, where: str, threshold: Rule | FloorSection) -> None:
    stage, column = threshold.stage, threshold.column
    if stage not in _COLUMNS or getattr(recipe, stage) is None:
        raise ValueError(f"{where}: this recipe has no stage {stage}")
    schema = _COLUMNS[stage].schema
    if schema is None or column not in schema.names:
        names = ", ".join(schema.names) if schema is not None else "none"
        raise ValueError(f"{where}: {stage} has no column {column}; it has {names}")
    kind = schema.field(column).type
    bounded = threshold.at_least is not None or threshold.at_most is not None
    if bounded and not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise ValueError(f"{where}: at_least and at_most are for numbers, and {stage}.{column} holds {kind}")
    if threshold.one_of is not None and not pa.types.is_string(kind):
        raise ValueError(f"{where}: one_of is for strings, and {stage}.{column} holds {kind}")


def _implies(rule: Rule, floor: FloorSection) -> bool:
    """Whether every document that passes `rule` passes `floor`."""
    if (rule.stage, rule.column) != (floor.stage, floor.column) or rule.missing == "passes":
        return False
    at_least = floor.at_least is None or (rule.at_least is not None and rule.at_least >= floor.at_least)
    at_most = floor.at_most is None or (rule.at_most is not None and rule.at_most <= floor.at_most)
    one_of = floor.one_of is None or (rule.one_of is not None and set(rule.one_of) <= set(floor.one_of))
    return at_least and at_most and one_of
