"""Finds recipes: YAML files of ours by name or anybody's by path, with values replaced, checked before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic

from tasks.model_files import model_files
from tasks.recipe.old_form import from_old_form, is_old_form
from tasks.recipe.overrides import full_keys, replace_values
from tasks.recipe.resolve import resolve
from tasks.recipe.resolved import ResolvedRecipe, Unresolved
from tasks.recipe.schema import Recipe
from tasks.settings import RecipeError, problems_of, read_mapping, refusal
from tasks.tokenizer import tokenizer_faults

RECIPES = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """The recipes that come with Millrace."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(
    name: str, settings: Iterable[str] = (), inputs: Iterable[str] = (), values: Mapping[str, Any] | None = None
) -> ResolvedRecipe:
    """The recipe in a YAML file, or one of ours by name, with values replaced.

    `settings` are ``KEY=VALUE`` as `tasks.recipe.overrides` reads them. `values` are the same in nested sections, and
    are replaced first. `inputs` replace those of the recipe's only source. The model files that the recipe names are
    opened, so that a wrong one is found now and not after hours of work. Raises RecipeError.
    """
    recipe = read_recipe(name)
    recipe = replace_values(recipe, [*full_keys(values or {}), *settings], name)
    given = list(inputs)
    if given:
        if len(recipe.sources) != 1:
            raise RecipeError(f"{name} has several sources: give inputs with --set sources.NAME.inputs=[...]")
        [source] = recipe.sources
        recipe = replace_values(recipe, [(f"sources.{source}.inputs", given)], name)
    resolved = resolve_recipe(recipe, name)
    _refuse(name, [*_model_faults(resolved), *tokenizer_faults(recipe.tokenizer.file)])
    return resolved


def read_recipe(name: str) -> Recipe:
    """The recipe as it is written, with defaults. Raises RecipeError."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        raise RecipeError(f"there is no recipe {name}: give a YAML file, or one of {', '.join(recipe_names())}")
    return parse_recipe(read_mapping(path, "a recipe"), str(path))


def parse_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """The recipe in a mapping, in the present form or the one before. Raises RecipeError naming every wrong value."""
    try:
        return Recipe.model_validate(from_old_form(values) if is_old_form(values) else values)
    except pydantic.ValidationError as error:
        raise RecipeError(refusal(where, "a recipe that can be built", problems_of(error, "recipe"))) from error


def resolve_recipe(recipe: Recipe, where: str) -> ResolvedRecipe:
    """The recipe with what it leaves open settled. Raises RecipeError when its parts do not fit each other."""
    try:
        return resolve(recipe)
    except Unresolved as error:
        raise RecipeError(refusal(where, "a recipe that can be built", [str(error)])) from error


def require_inputs(resolved: ResolvedRecipe) -> None:
    """Raises RecipeError when a source has no inputs."""
    for source in (*resolved.sources, *resolved.references):
        if not source.section.inputs:
            raise RecipeError(
                f"the source {source.name} has no inputs: give --input PATH_OR_GLOB, or set them in the recipe"
            )


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


def _refuse(where: str, faults: list[str]) -> None:
    if faults:
        raise RecipeError(refusal(where, "a recipe that can be built", faults))
