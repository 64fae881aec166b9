"""The form of recipes before version 0.2: one list of sources, and the same optional stages for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.recipe.schema import RESERVED
from tasks.settings import RecipeError

_SOURCE_FIELDS = ("name", "reader", "inputs", "config", "share")
_STEPS = ("paragraphs", "language", "heuristics", "perplexity")
_TAKEN_OVER = (
    *("sources", "reference", "language_models", "near_duplicates", "floors", "rules", "survivors"),
    *_STEPS,
)


def is_old_form(values: Mapping[str, Any]) -> bool:
    """Whether a recipe is in the old form: its sources are a list."""
    return isinstance(values.get("sources"), list)


def from_old_form(values: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe in the present form: every source gets the same steps, near-duplicates see all sources together.

    Raises RecipeError for an entry that cannot be carried over. Values are checked later, as those of any recipe.
    """
    kept = {key: value for key, value in values.items() if key not in _TAKEN_OVER}
    sources = _sources(values, "sources", RESERVED)
    references = _sources(values, "reference", [*RESERVED, *sources])
    for body in references.values():
        body.pop("share", None)  # it had no meaning there
    if (values.get("perplexity") is None) != (values.get("language_models") is None):
        raise RecipeError("give both perplexity and language_models: perplexity scores with the fitted language models")
    floors = [_threshold(item) for item in _list(values, "floors")]
    shared = {
        "steps": _steps(values, floors),
        "rules": [_threshold(item) for item in _list(values, "rules")],
        **({"floors": floors} if floors else {}),
    }
    language = [{"language": _section(values, "language") or {}}]
    return {
        **kept,
        **_models(values, list(references) or list(sources)),
        **(
            {"references": {name: {**body, "steps": language} for name, body in references.items()}}
            if references
            else {}
        ),
        "sources": {name: {**body, **shared} for name, body in sources.items()},
        **_across(values),
    }


def _sources(values: Mapping[str, Any], field: str, taken: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Name → body. The old form had no reserved names, and let a reference have the name of a source."""
    found: dict[str, dict[str, Any]] = {}
    names: set[str] = set()
    for item in _list(values, field):
        if not isinstance(item, Mapping) or "name" not in item or "reader" not in item:
            raise RecipeError(f"{field}: each needs a name and a reader, but this is {item!r}")
        if unknown := sorted(map(str, set(item) - set(_SOURCE_FIELDS))):
            raise RecipeError(f"{field}: a source has no {unknown[0]}; it has {', '.join(_SOURCE_FIELDS)}")
        name = str(item["name"])
        if name in names:
            raise RecipeError(f"{field}: two have the name {name}; rename one")
        names.add(name)
        body = {"read": {str(item["reader"]): item.get("config") or {}}, "inputs": item.get("inputs") or []}
        found[f"{name}-{field}" if name in taken else name] = {**body, "share": item.get("share", 1.0)}
    return found


def _list(values: Mapping[str, Any], field: str) -> list[Any]:
    found = values.get(field) or []
    if not isinstance(found, list):
        raise RecipeError(f"{field}: expected a list, found {found!r}")
    return found


def _section(values: Mapping[str, Any], field: str) -> Mapping[str, Any] | None:
    found = values.get(field)
    if found is not None and not isinstance(found, Mapping):
        raise RecipeError(f"{field}: expected a mapping, found {found!r}")
    return found


def _steps(values: Mapping[str, Any], floors: list[Any]) -> list[Any]:
    names = [name for name in _STEPS if values.get(name) is not None]
    looked_at = {str(floor.get("column", "")).partition(".")[0] for floor in floors if isinstance(floor, dict)}
    if "heuristics" in names and looked_at == {"language"}:
        # Both were computed in one read, so a floor on the language kept no document from the heuristics.
        names.remove("heuristics")
        names.insert(names.index("language"), "heuristics")
    steps: list[Any] = [{name: _section(values, name)} for name in names]
    for step in steps:
        if "perplexity" in step:
            step["perplexity"] = {**(step["perplexity"] or {}), "model": "language_models"}
    return steps


def _models(values: Mapping[str, Any], on: list[str]) -> dict[str, Any]:
    config = _section(values, "language_models")
    if config is None:
        return {}
    return {"models": {"language_models": {"fit": "language_models", "on": on, **config}}}


def _across(values: Mapping[str, Any]) -> dict[str, Any]:
    config = _section(values, "near_duplicates")
    if config is None:
        return {}
    survivors = values.get("survivors")
    return {"across": [{"near_duplicates": {**config, **({"survivors": survivors} if survivors else {})}}]}


def _threshold(item: Any) -> Any:
    if not isinstance(item, Mapping) or "stage" not in item:
        return item
    rest = {key: value for key, value in item.items() if key not in ("stage", "column")}
    return {"column": f"{item['stage']}.{item.get('column')}", **rest}
