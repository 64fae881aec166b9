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
    name: str, settings: Iterable[str] = (), inputs: Iterable[str] = (), values: Mapping[str, Any] | None = None
) -> ResolvedRecipe:
    """Load a recipe from a YAML file, or a bundled one by name, and apply overrides.

    `values` are overrides in nested sections and are applied first; `settings` are ``KEY=VALUE`` as
    `tasks.recipe.overrides` reads them. `inputs` replace those of the recipe's only source. Opens the model files that
    the recipe names, so that a wrong file fails now and not after hours of work. Raises RecipeError.
    """
    recipe = read_recipe(name)
    recipe = replace_values(recipe, [*full_keys(values or {}), *settings], name)
    given = list(inputs)
    if given:
        if len(recipe.sources) != 1:
            raise RecipeError(f"{name} has several sources: set inputs with --set sources.NAME.inputs=[...]")
        [source] = recipe.sources
        recipe = replace_values(recipe, [(f"sources.{source}.inputs", given)], name)
    resolved = resolve_recipe(recipe, name)
    _refuse(name, [*_model_faults(resolved), *_tokenizer_faults(recipe)])
    return resolved


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
                f"the source {source.name} has no inputs: use --input PATH_OR_GLOB, or set them in the recipe"
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
