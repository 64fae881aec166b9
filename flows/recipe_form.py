"""JSON schema of a recipe's values: sources with their steps and rules, tokenizer and tokens."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, get_args

import pydantic

from tasks.corpus.duplicates import Survivors
from tasks.corpus.rules import Rule
from tasks.recipe.parts import StageUse, Step
from tasks.recipe.schema import DEFAULT_SURVIVORS, Recipe, Reference, Source

Schema = dict[str, Any]


def values_schema(recipe: Recipe) -> Schema:
    """The schema of the nested values that `tasks.recipe.overrides.full_keys` reads. Defaults are the recipe's values.

    A step has the fields of its stage's config class. Sources without inputs require them.
    """
    own = recipe.model_dump(mode="json")
    sections = {
        "sources": {name: _source(source, len(recipe.sources) > 1) for name, source in recipe.sources.items()},
        "references": {name: _source(source, False) for name, source in recipe.references.items()},
        "across": {step.name: _step(step) for step in recipe.across},
        "models": {name: _fields(model) for name, model in recipe.models.items()},
    }
    properties = {name: _section(members) for name, members in sections.items()}
    for name, info in Recipe.model_fields.items():
        if name in ("most_failures", "failures_allowed"):
            properties[name] = _of_model(Recipe, own, [name])["properties"][name]
        elif isinstance(info.annotation, type) and issubclass(info.annotation, pydantic.BaseModel):
            properties[name] = _of_model(info.annotation, own[name])
    return _section(properties)


def _source(source: Reference, shares: bool) -> Schema:
    own = source.model_dump(mode="json")
    parts = source.parts if isinstance(source, Source) else {}
    names = ["inputs", *(["share", "epochs"] if shares and not parts else [])]
    properties = dict(_of_model(type(source), own, names)["properties"])
    if not source.inputs:
        properties["inputs"] = {**properties["inputs"], "minItems": 1}
        del properties["inputs"]["default"]
    properties["read"] = _fields(source.read, hidden=("source", "parts"))
    if parts:
        mixed = {name: _of_model(type(part), own["parts"][name], ["share", "epochs"]) for name, part in parts.items()}
        properties["parts"] = _section(mixed)
    properties |= {step.name: _step(step) for step in source.steps}
    if isinstance(source, Source) and source.rules:
        properties["rules"] = _section({rule.reason: _thresholds(rule) for rule in source.rules})
    found = _section(properties)
    return found if source.inputs else {**found, "required": ["inputs"]}


def _thresholds(rule: Rule) -> Schema:
    """The thresholds that a rule sets."""
    own = rule.model_dump(mode="json", exclude_none=True)
    found = _of_model(type(rule), own, [name for name in ("at_least", "at_most", "one_of") if name in own])
    for name, body in found["properties"].items():
        # Not nullable: a rule must keep its threshold.
        [kind] = [one for one in body.pop("anyOf") if one.get("type") != "null"]
        found["properties"][name] = {**body, **kind}
    conditions = "".join(f" {condition.capitalize()}." for condition in rule.conditions)
    return {**found, "description": f"Thresholds for the column {own['column']}.{conditions}"}


def _step(step: Step) -> Schema:
    found = _fields(step)
    stage = step.declared()
    if stage.load is not None:
        found["properties"]["model"] = _optional(step, "model", {"type": "string"}, stage.default_model)
    if stage.gives_clusters:
        items = {"type": "string", "enum": list(get_args(Survivors))}
        body = {"type": "array", "items": items}
        found["properties"]["survivors"] = _optional(step, "survivors", body, ", ".join(DEFAULT_SURVIVORS))
    return found


def _optional(step: Step, name: str, body: Schema, otherwise: str | None) -> Schema:
    """A field of the step itself. If the recipe omits it, it has no default in the form and `otherwise` applies."""
    own = step.model_dump(mode="json")[name]
    if own is not None:
        body["default"] = own
    elif otherwise is not None:
        return {**body, "description": f"{Step.model_fields[name].description} Default: {otherwise}."}
    return {**body, "description": Step.model_fields[name].description}


def _fields(use: StageUse, hidden: tuple[str, ...] = ()) -> Schema:
    """The fields of a stage's config class."""
    config = use.declared().config
    names = [name for name in config.model_fields if name not in hidden]
    found = _of_model(config, use.config, names)
    found["description"] = f"Stage {use.stage}. {found['description']}"
    return found


def _of_model(model: type[pydantic.BaseModel], own: dict[str, Any], names: Iterable[str] | None = None) -> Schema:
    """The schema of some fields of a Pydantic model, with `$ref` inlined and the values of `own` as defaults."""
    whole = model.model_json_schema()
    definitions = whole.get("$defs", {})
    properties = {}
    for name in model.model_fields if names is None else names:
        body = _inlined(whole["properties"][name], definitions)
        if own.get(name) is None:
            body.pop("default", None)
        else:
            body["default"] = own[name]
        properties[name] = body
    return {**_section(properties), "description": _words(model)}


def _section(properties: dict[str, Any]) -> Schema:
    """An object with these properties. Omits objects without fields: a form has nothing to show for them."""
    shown = {name: body for name, body in properties.items() if body.get("type") != "object" or body.get("properties")}
    required = [name for name, body in shown.items() if "required" in body]
    section: Schema = {"type": "object", "properties": shown, "additionalProperties": False}
    return {**section, "required": required} if required else section


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {name: _inlined(body, definitions) for name, body in schema.items() if name != "$ref"}
    if "$ref" not in schema:
        return rest
    return {**_inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions), **rest}


def _words(model: type[pydantic.BaseModel]) -> str:
    return " ".join((inspect.cleandoc(model.__doc__) if model.__doc__ else "").split())
