"""Loads recipes: bundled ones by name, others by path. Applies overrides and validates before any work starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic

from infra.store.roots import require_inside
from tasks.model_files import model_files
from tasks.recipe.old_form import from_old_form, is_old_form
from tasks.recipe.overrides import full_keys, replace_values
from tasks.recipe.resolve import resolve
from tasks.recipe.resolved import ResolvedRecipe, Unresolved
from tasks.recipe.schema import Recipe
from tasks.settings import RecipeError, problems_of, read_mapping, refusal
from tasks.tokenizer_file import tokenizer_faults

RECIPES = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the bundled recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(
    name: str,
    settings: Iterable[str] = (),
    inputs: Iterable[str] = (),
    values: Mapping[str, Any] | None = None,
    skip_missing: bool = False,
) -> ResolvedRecipe:
    """Load a recipe from a YAML file, or a bundled one by name, and apply overrides.

    `values` are overrides in nested sections and are applied first; `settings` are ``KEY=VALUE`` as
    `tasks.recipe.overrides` reads them. `inputs` replace those of the recipe's only source, or, as ``SOURCE=PATH``,
    those of the sources and references that they name. With `skip_missing`, sources without inputs are left out. Opens
    the model files that the recipe names, so that a wrong file fails now and not after hours of work. Raises
    RecipeError.
    """
    written = read_recipe(name)
    recipe = replace_values(written, [*full_keys(values or {}), *settings], name)
    recipe = replace_values(recipe, _given_inputs(recipe, list(inputs), name), name)
    recipe = _without_idle(recipe.model_dump(mode="json"), _models_named(written.model_dump(mode="json")), name)
    if skip_missing:
        recipe = without_missing(recipe, name)
    resolved = resolve_recipe(recipe, name)
    _refuse(name, [*_model_faults(resolved), *_tokenizer_faults(recipe)])
    return resolved


def _given_inputs(recipe: Recipe, given: list[str], name: str) -> list[tuple[str, Any]]:
    """The inputs of sources and references, as settings."""
    names = {*recipe.sources, *recipe.references}
    if len(recipe.sources) == 1:
        # The name is not needed here, and does no harm.
        [source] = recipe.sources
        given = [item if item.partition("=")[0] in names and "=" in item else f"{source}={item}" for item in given]
    found: dict[str, list[str]] = {}
    for item in given:
        source, sign, path = item.partition("=")
        section = next((part for part in ("sources", "references") if source in getattr(recipe, part)), None)
        if not sign or section is None:
            known = ", ".join([*recipe.sources, *recipe.references])
            raise RecipeError(f"{name} has several sources: give {item!r} as SOURCE=PATH, with one of {known}")
        if not path:
            raise RecipeError(f"{name}: no path is given for {source}: give --input {source}=PATH, or leave it out")
        found.setdefault(f"{section}.{source}.inputs", []).append(path)
    return list(found.items())


def missing_sources(recipe: Recipe) -> list[str]:
    """The sources and references without inputs."""
    return [name for name, section in {**recipe.sources, **recipe.references}.items() if not section.inputs]


def without_missing(recipe: Recipe, name: str) -> Recipe:
    """The recipe without the sources that have no inputs, and without the models that only these used.

    Where a reference has no inputs, the models that are fitted on it go, with the steps that use them and the rules on
    these. Raises RecipeError if no source is left, or if one needs a model that is fitted on a source without inputs.
    """
    missing = missing_sources(recipe)
    values = recipe.model_dump(mode="json")
    before = _models_named(values)
    for section in ("sources", "references"):
        values[section] = {source: body for source, body in values[section].items() if source not in missing}
    if not values["sources"]:
        raise RecipeError(f"{name}: no source has inputs: give some with --input SOURCE=PATH")
    for model, body in values["models"].items():
        if any(origin in recipe.references and origin in missing for origin in body["on"]):
            _leave_out_steps(values, model)
    recipe = _without_idle(values, before, name)
    for model, body in recipe.models.items():
        if lacking := [origin for origin in body.on if origin in missing]:
            users = [source for source, section in values["sources"].items() if model in _models_named(section)]
            raise RecipeError(
                f"{name}: {', '.join(users) or 'a step'} needs the model {model}, which is fitted on {lacking[0]}: "
                f"give --input {lacking[0]}=PATH, name the file of a model in the step, or leave that source out, too"
            )
    return recipe


def _without_idle(values: dict[str, Any], before: set[str], name: str) -> Recipe:
    """The recipe without the models of `before` that no step uses now, and without the references of these alone.

    A setting can name the file of a model in place of one that is fitted.
    """
    used = _models_named([values[section] for section in ("sources", "references", "across")])
    idle = {model: values["models"].pop(model) for model in [*values["models"]] if model in before - used}
    needed = {origin for body in values["models"].values() for origin in body["on"]}
    for origin in {origin for body in idle.values() for origin in body["on"]} - needed:
        values["references"].pop(origin, None)
    return parse_recipe(values, name)


def left_out(written: Recipe, resolved: ResolvedRecipe) -> str:
    """What a resolved recipe lacks of the written one, in words; empty where that is nothing."""
    stays = {origin.name: origin for origin in (*resolved.sources, *resolved.references)}
    sections = {**written.sources, **written.references}
    gone = [name for name in sections if name not in stays]
    steps = [
        f"{name}.{step.name}"
        for name, origin in stays.items()
        for step in sections[name].steps
        if origin.step(step.name) is None
    ]
    models = f"; steps without their model, and their rules: {', '.join(steps)}" if steps else ""
    return f"left out, without inputs: {', '.join(gone)}{models}" if gone else ""


def _leave_out_steps(values: dict[str, Any], model: str) -> None:
    """Take the steps that use a model out of all sections, with the rules and floors that ask for their columns."""
    values["across"] = [step for step in values["across"] if step["model"] != model]
    for section in (*values["sources"].values(), *values["references"].values()):
        gone = {step["name"] for step in section["steps"] if step["model"] == model}
        section["steps"] = [step for step in section["steps"] if step["name"] not in gone]
        for kind in {"rules", "floors"} & section.keys():
            section[kind] = [one for one in section[kind] if not gone & _steps_asked(one)]


def _steps_asked(threshold: Mapping[str, Any]) -> set[str]:
    """The steps whose columns a rule or floor compares, in its conditions too."""
    asked = (threshold, threshold.get("when"), threshold.get("unless"))
    return {one["column"].partition(".")[0] for one in asked if one is not None}


def _models_named(value: Any) -> set[str]:
    """The values of the fields ``model``, at any depth."""
    if isinstance(value, Mapping):
        own = {value["model"]} if isinstance(value.get("model"), str) else set()
        return own.union(*map(_models_named, value.values()))
    return set[str]().union(*map(_models_named, value)) if isinstance(value, (list, tuple)) else set()


def read_recipe(name: str) -> Recipe:
    """The recipe as written, with defaults. Raises RecipeError."""
    written = name.endswith((".yaml", ".yml"))
    path = Path(name) if written else RECIPES / f"{name}.yaml"
    if written:
        require_inside(path, "the recipe")
    if not path.is_file():
        raise RecipeError(f"there is no recipe {name}: give a YAML file, or one of {', '.join(recipe_names())}")
    return parse_recipe(read_mapping(path, "a recipe"), str(path))


def parse_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """Parse a recipe in the current or the previous format. Raises RecipeError that names every wrong value."""
    try:
        return Recipe.model_validate(from_old_form(values) if is_old_form(values) else values)
    except pydantic.ValidationError as error:
        raise RecipeError(refusal(where, "a valid recipe", problems_of(error, "recipe"))) from error


def resolve_recipe(recipe: Recipe, where: str) -> ResolvedRecipe:
    """Resolve the values that a recipe leaves open. Raises RecipeError when its parts do not fit together."""
    try:
        return resolve(recipe)
    except Unresolved as error:
        raise RecipeError(refusal(where, "a valid recipe", [str(error)])) from error


def require_inputs(resolved: ResolvedRecipe) -> None:
    """Raises RecipeError when a source has no inputs."""
    for source in (*resolved.sources, *resolved.references):
        if not source.section.inputs:
            raise RecipeError(
                f"the source {source.name} has no inputs: use --input PATH_OR_GLOB (with several sources, "
                f"--input {source.name}=PATH_OR_GLOB), set them in the recipe, or leave it out with --skip-missing"
            )


def with_tokens(
    values: Mapping[str, Any],
    tokenizer: str | None,
    vocabulary_size: int | None,
    held_out_every: int | None,
    end_of_document: str | None = None,
) -> Recipe:
    """The recipe of a build with another tokenizer (loaded or to be fitted) or another held-out part.

    `end_of_document` is the token of the file that ends a document; without it, ``<|endoftext|>``.

    Raises RecipeError, for example when the file is not a tokenizer.
    """
    if tokenizer is not None and vocabulary_size is not None:
        raise RecipeError("a tokenizer file has a fixed vocabulary: give either a tokenizer file or a vocabulary size")
    changed = dict(values)
    if tokenizer is not None:
        changed["tokenizer"] = {"file": tokenizer}
    elif vocabulary_size is not None:
        changed["tokenizer"] = {"vocabulary_size": vocabulary_size}
    if end_of_document is not None:
        changed["tokenizer"] = {**changed.get("tokenizer", {}), "end_of_document": end_of_document}
    if held_out_every is not None:
        changed["tokens"] = {**values.get("tokens", {}), "held_out_every": held_out_every}
    where = f"the changed recipe {values['name']}"
    recipe = parse_recipe(changed, where)
    # Other files of the recipe may be gone: the corpus is not rebuilt.
    _refuse(where, _tokenizer_faults(recipe))
    return recipe


def _model_faults(resolved: ResolvedRecipe) -> list[str]:
    faults = []
    for source in (*resolved.sources, *resolved.references):
        for step in source.steps:
            if step.stage.load is not None and step.model is not None and step.model not in resolved.recipe.models:
                try:
                    model_files(step.stage, step.model)
                except (ValueError, OSError) as error:
                    faults.append(f"{step.name}.model: {error}")
    return list(dict.fromkeys(faults))


def _tokenizer_faults(recipe: Recipe) -> list[str]:
    return tokenizer_faults(recipe.tokenizer.file, recipe.tokenizer.end_of_document)


def _refuse(where: str, faults: list[str]) -> None:
    if faults:
        raise RecipeError(refusal(where, "a valid recipe", faults))
