"""The form of recipes before version 0.2: one list of sources, and the same optional stages for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.settings import RecipeError

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
    sources = dict(map(_source, values["sources"]))
    references = dict(map(_source, values.get("reference") or []))
    for body in references.values():
        body.pop("share", None)  # it had no meaning there
    floors = [_threshold(item) for item in values.get("floors") or []]
    shared = {
        "steps": _steps(values, floors),
        "rules": [_threshold(item) for item in values.get("rules") or []],
        **({"floors": floors} if floors else {}),
    }
    language = [{"language": values.get("language") or {}}]
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


def _source(item: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(item, Mapping) or "name" not in item or "reader" not in item:
        raise RecipeError(f"sources: each has a name and a reader, and this is {item!r}")
    body = {key: value for key, value in item.items() if key not in ("name", "reader", "config")}
    return str(item["name"]), {"read": {str(item["reader"]): item.get("config") or {}}, **body}


def _steps(values: Mapping[str, Any], floors: list[Any]) -> list[Any]:
    names = [name for name in _STEPS if values.get(name) is not None]
    looked_at = {str(floor.get("column", "")).partition(".")[0] for floor in floors if isinstance(floor, dict)}
    if "heuristics" in names and looked_at == {"language"}:
        # Both were computed in one read, so a floor on the language kept no document from the heuristics.
        names.remove("heuristics")
        names.insert(names.index("language"), "heuristics")
    steps: list[Any] = [{name: values[name]} for name in names]
    for step in steps:
        if "perplexity" in step:
            step["perplexity"] = {**(step["perplexity"] or {}), "model": "language_models"}
    return steps


def _models(values: Mapping[str, Any], on: list[str]) -> dict[str, Any]:
    config = values.get("language_models")
    if config is None:
        return {}
    return {"models": {"language_models": {"fit": "language_models", "on": on, **config}}}


def _across(values: Mapping[str, Any]) -> dict[str, Any]:
    config = values.get("near_duplicates")
    if config is None:
        return {}
    survivors = values.get("survivors")
    return {"across": [{"near_duplicates": {**config, **({"survivors": survivors} if survivors else {})}}]}


def _threshold(item: Any) -> Any:
    if not isinstance(item, Mapping) or "stage" not in item:
        return item
    rest = {key: value for key, value in item.items() if key not in ("stage", "column")}
    return {"column": f"{item['stage']}.{item.get('column')}", **rest}
