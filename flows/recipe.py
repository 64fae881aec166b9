"""Recipes: YAML files that say what a corpus is made of, checked before any work starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

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
from tasks.sources.warc import read_web_archive
from tasks.sources.wet import read_wet
from tasks.tokenizer import TokenizerConfig

RECIPES = Path(__file__).parent / "recipes"
READERS: dict[str, Stage] = {"web_archive": read_web_archive, "wet": read_wet}
_COLUMNS: dict[str, Stage] = {
    "paragraphs": paragraphs,
    "language": identify_language,
    "heuristics": measure_heuristics,
    "perplexity": score_perplexity,
    "near_duplicates": near_duplicates,
}


class RecipeError(Exception):
    """A recipe that cannot be built, with the name of the value and what is allowed."""


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class SourceSection(_Section):
    """One source: the files it reads, how, and its share of training in tokens."""

    name: str = pydantic.Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    reader: Literal["web_archive", "wet"]
    inputs: tuple[str, ...] = ()
    config: dict[str, Any] = pydantic.Field(default_factory=dict)
    share: float = pydantic.Field(1.0, gt=0)


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
    """How tokens are cut off for validation."""

    held_out_every: int = pydantic.Field(0, ge=0)


class Recipe(_Section):
    """A corpus: sources, what is found out about their documents, and which of them stay."""

    name: str = pydantic.Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    sources: tuple[SourceSection, ...] = pydantic.Field(min_length=1)
    paragraphs: ParagraphConfig | None = None
    language: LanguageSection | None = None
    heuristics: HeuristicsConfig | None = None
    language_models: LanguageModelsConfig | None = None
    perplexity: PerplexityConfig | None = None
    near_duplicates: NearDuplicateConfig | None = None
    floors: tuple[FloorSection, ...] = ()
    rules: tuple[Rule, ...] = ()
    survivors: tuple[Literal["longest", "shortest", "earliest", "latest", "first"], ...] = ("longest", "earliest")
    most_failures: float = pydantic.Field(0.05, ge=0, le=1)
    tokenizer: TokenizerSection = pydantic.Field(default_factory=TokenizerSection)
    tokens: TokensSection = pydantic.Field(default_factory=TokensSection)

    @pydantic.model_validator(mode="after")
    def _holds_together(self) -> Recipe:
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"sources: two of {names} have the same name")
        if (self.perplexity is None) != (self.language_models is None):
            raise ValueError("perplexity and language_models come together: the one scores with what the other fits")
        if self.language_models is not None and self.language is None:
            raise ValueError("language_models: models are fitted per language, so the recipe needs language")
        reasons = [rule.reason for rule in self.rules]
        if len(set(reasons)) < len(reasons):
            raise ValueError(f"rules: every rule needs a reason of its own, and these are {reasons}")
        for rule in self.rules:
            _check_column(self, "rules." + rule.reason, rule.stage, rule.column)
        for floor in self.floors:
            _check_column(self, "floors", floor.stage, floor.column)
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

    `settings` are ``KEY=VALUE`` with a dotted key, such as ``near_duplicates.threshold=0.7`` or, for members of
    lists, their name, reason or number: ``rules.low_language_score.at_least=0.6``. `inputs` replace those of the
    recipe's only source. Raises RecipeError.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.yaml")))
        raise RecipeError(f"there is no recipe {name}: give a YAML file, or one of {known}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path} holds no recipe: a mapping with name and sources is expected")
    for setting in settings:
        _replace(values, setting)
    given = list(inputs)
    if given:
        if len(values.get("sources", [])) != 1:
            raise RecipeError(f"{path} has several sources: set their inputs with --set sources.NAME.inputs=[...]")
        values["sources"][0]["inputs"] = given
    return parse_recipe(values, str(path))


def parse_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """The recipe in a mapping. Raises RecipeError naming every value that is wrong and what is allowed."""
    try:
        return Recipe.model_validate(values)
    except pydantic.ValidationError as error:
        lines = []
        for problem in error.errors():
            place = ".".join(str(part) for part in problem["loc"]) or "recipe"
            lines.append(f"  {place}: {problem['msg'].removeprefix('Value error, ')}")
        raise RecipeError("\n".join([f"{where} is not a recipe that can be built:", *lines])) from error


def _replace(values: dict[str, Any], setting: str) -> None:
    key, sign, text = setting.partition("=")
    if not sign:
        raise RecipeError(f"--set {setting}: write KEY=VALUE")
    *path, last = key.split(".")
    target: Any = values
    for number, step in enumerate(path):
        target = _member(target, step, ".".join(path[: number + 1]))
    value = yaml.safe_load(text)
    if isinstance(target, list):
        target[_position(target, last, key)] = value
    else:
        target[last] = value


def _member(target: Any, step: str, where: str) -> Any:
    if isinstance(target, list):
        return target[_position(target, step, where)]
    if target.get(step) is None:
        target[step] = {}
    if not isinstance(target[step], (dict, list)):
        raise RecipeError(f"--set {where}: the recipe has the value {target[step]!r} there, with nothing inside")
    return target[step]


def _position(items: list[Any], step: str, where: str) -> int:
    for number, item in enumerate(items):
        if str(number) == step or (isinstance(item, dict) and step in (item.get("name"), item.get("reason"))):
            return number
    names = [item.get("name") or item.get("reason") for item in items if isinstance(item, dict)]
    raise RecipeError(f"--set {where}: the list has no {step}; it has {', '.join(map(str, names)) or 'no members'}")


def _check_column(recipe: Recipe, where: str, stage: str, column: str) -> None:
    if stage not in _COLUMNS or getattr(recipe, stage) is None:
        raise ValueError(f"{where}: this recipe has no stage {stage}")
    schema = _COLUMNS[stage].schema
    if schema is not None and column not in schema.names:
        raise ValueError(f"{where}: {stage} has no column {column}; it has {', '.join(schema.names)}")


def _implies(rule: Rule, floor: FloorSection) -> bool:
    """Whether every document that passes `rule` passes `floor`."""
    if (rule.stage, rule.column) != (floor.stage, floor.column) or rule.missing == "passes":
        return False
    at_least = floor.at_least is None or (rule.at_least is not None and rule.at_least >= floor.at_least)
    at_most = floor.at_most is None or (rule.at_most is not None and rule.at_most <= floor.at_most)
    one_of = floor.one_of is None or (rule.one_of is not None and set(rule.one_of) <= set(floor.one_of))
    return at_least and at_most and one_of
