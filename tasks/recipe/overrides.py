"""``--set KEY=VALUE`` on a recipe.

The full path of a value is ``sources.NAME.STEP.FIELD``, ``sources.NAME.read.FIELD``,
``sources.NAME.rules.REASON.FIELD``, ``across.STEP.FIELD``, ``models.NAME.FIELD``, or a field of the recipe such as
``tokenizer.vocabulary_size``.
``STEP.FIELD`` stands for every step or fitted model of that name, and ``rules.REASON.FIELD`` for that rule of every
source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pydantic

from tasks.recipe.schema import Recipe, Source
from tasks.settings import RecipeError, problems_of, refusal, replace_at, split_setting

Path = tuple[str | int, ...]
_NAMED = ("name", "reason", "column")


def replace_values(recipe: Recipe, settings: Iterable[str | tuple[str, Any]], where: str) -> Recipe:
    """The recipe with values replaced. Raises RecipeError for a key that matches nothing, or a value that is wrong."""
    values = recipe.model_dump(mode="json")
    changed = False
    for setting in settings:
        key, value = split_setting(setting) if isinstance(setting, str) else setting
        paths = _paths(values, key)
        sections = any(isinstance(_at(values, path), (dict, list)) for path in paths)
        for path in paths:
            replace_at(values, path, value)
            changed = True
        if sections:
            # A section may be written in a short form. Later keys look into the full one.
            values = _validated(values, where).model_dump(mode="json")
    return _validated(values, where) if changed else recipe


def _validated(values: Mapping[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except pydantic.ValidationError as error:
        raise RecipeError(refusal(where, "a recipe that can be built", problems_of(error, "recipe"))) from error


def _at(values: Any, path: Path) -> Any:
    for part in path:
        values = values.get(part) if isinstance(values, dict) else values[part]
    return values


def full_keys(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested sections, such as ``{"sources": {"crawl": {"near_duplicates": {...}}}}``."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from full_keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def matches(recipe: Recipe, key: str) -> list[str]:
    """The full paths that a key stands for. Raises RecipeError when there is none."""
    values = recipe.model_dump(mode="json")
    return [_spell(values, path) for path in _paths(values, key)]


def _paths(values: dict[str, Any], key: str) -> list[Path]:
    first, *rest = key.split(".")
    if first in ("sources", "references") and rest:
        name = _known(values[first], rest[0], key, first)
        return (
            [(first, name, *path) for path in _in_source(values[first][name], rest[1:], key)]
            if rest[1:]
            else [(first, name)]
        )
    if first == "models" and rest:
        name = _known(values["models"], rest[0], key, "models")
        return [("models", name, *_in_use(values["models"][name], rest[1:], key))]
    if first == "across" and rest:
        number = _member(values["across"], rest[0], key)
        return [("across", number, *_in_use(values["across"][number], rest[1:], key))]
    if first in values:
        return [_in_mapping(values, [first, *rest], key)]
    found = list(_everywhere(values, first, rest, key))
    if not found:
        steps = [step["name"] for source in values["sources"].values() for step in source["steps"]]
        known = ", ".join(
            dict.fromkeys([*steps, *(step["name"] for step in values["across"]), *values["models"], *values])
        )
        raise RecipeError(f"--set {key}: the recipe has no {first}; it has {known}")
    return found


def _everywhere(values: dict[str, Any], first: str, rest: list[str], key: str) -> Iterator[Path]:
    """A key without the place: a field of every source, or every step and model of that name."""
    if first in Source.model_fields:
        refused: RecipeError | None = None
        found = False
        for name, source in values["sources"].items():
            try:
                paths = _in_source(source, [first, *rest], key)
            except RecipeError as error:
                refused = error
                continue
            found = True
            yield from (("sources", name, *path) for path in paths)
        if not found and refused is not None:
            raise refused
        return
    for section in ("sources", "references"):
        for name, source in values[section].items():
            for number, step in enumerate(source["steps"]):
                if step["name"] == first:
                    yield (section, name, "steps", number, *_in_use(step, rest, key))
    for number, step in enumerate(values["across"]):
        if step["name"] == first:
            yield ("across", number, *_in_use(step, rest, key))
    if first in values["models"]:
        yield ("models", first, *_in_use(values["models"][first], rest, key))


def _in_source(source: dict[str, Any], parts: list[str], key: str) -> list[Path]:
    first, *rest = parts
    if first == "read" and rest:
        return [("read", *_in_use(source["read"], rest, key))]
    if first in ("rules", "floors", "steps") and rest:
        number = _member(source.get(first) or [], rest[0], key)
        item = source[first][number]
        inner = _in_use(item, rest[1:], key) if first == "steps" else _in_mapping(item, rest[1:], key)
        return [(first, number, *inner)]
    if first in source:
        return [_in_mapping(source, parts, key)]
    number = _member(source["steps"], first, key)
    return [("steps", number, *_in_use(source["steps"][number], rest, key))]


def _in_use(use: dict[str, Any], parts: list[str], key: str) -> Path:
    """A field of a stage's envelope or config."""
    if not parts or parts[0] in use:
        return _in_mapping(use, parts, key)
    return ("config", *_in_mapping(use["config"], parts, key))


def _in_mapping(values: Any, parts: list[str], key: str) -> Path:
    path: list[str | int] = []
    for part in parts:
        if isinstance(values, list):
            path.append(_member(values, part, key))
        else:
            path.append(_known(values, part, key, ".".join(map(str, path)) or "it"))
        values = values[path[-1]]
    return tuple(path)


def _known(values: Any, name: str, key: str, where: str) -> str:
    if not isinstance(values, dict):
        raise RecipeError(f"--set {key}: the value there is {values!r}, which has no fields")
    if name not in values:
        raise RecipeError(f"--set {key}: there is no {name}; {where} has {', '.join(values) or 'nothing'}")
    return name


def _member(items: list[Any], name: str, key: str) -> int:
    for number, item in enumerate(items):
        if str(number) == name or (isinstance(item, dict) and name in [item.get(field) for field in _NAMED]):
            return number
    names = [next((item[field] for field in _NAMED if field in item), "") for item in items if isinstance(item, dict)]
    raise RecipeError(f"--set {key}: the list has no {name}; it has {', '.join(map(str, names)) or 'no members'}")


def _spell(values: dict[str, Any], path: Path) -> str:
    words: list[str] = []
    target: Any = values
    for part in path:
        target = target[part]
        if isinstance(part, int) and isinstance(target, dict):
            words.append(str(next((target[field] for field in _NAMED if field in target), part)))
        elif part not in ("steps", "config"):
            words.append(str(part))
    return ".".join(words)
