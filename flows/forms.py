"""Forms of deployments: the parameter schemas of the flows, with the choices available now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import Flow
from prefect.utilities.callables import parameter_schema

from flows.recipe_form import values_schema
from tasks.recipe.schema import Recipe

NOT_SHOWN = ("settings",)  # only for commands and scripts: a form has a field for each value
LISTED, OTHER, NONE, SET = "listed", "other", "none", "set"  # titles of the buttons above a field
_LIMITS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}

Schema = dict[str, Any]


def form(
    flow: Flow[..., Any],
    choices: Mapping[str, Sequence[str]],
    given: Mapping[str, Any],
    recipe: Recipe | None = None,
    lake: str | None = None,
) -> Schema:
    """The JSON schema of a deployment's parameters. The server validates runs with it; the dashboard draws its form.

    `choices` maps `Parameter.choices` to the names on offer; without names, the field is free text. `given` are the
    parameters that the deployment sets. With a `recipe`, the form has a field for each value of that recipe. `lake` is
    the default of the parameter `lake`.
    """
    schema: Schema = dict(parameter_schema(flow))
    properties = schema["properties"] = {
        name: body for name, body in schema["properties"].items() if name not in NOT_SHOWN
    }
    if recipe is not None:
        _fill(schema, recipe)
    if lake is not None and "lake" in properties:
        properties["lake"]["default"] = lake
    for name, body in properties.items():
        if (offered := body.pop("choices", None)) is not None:
            properties[name] = _choice(body, [*choices.get(offered, ())], given.get(name))
    for definition in schema.get("definitions", {}).values():
        definition["title"] = SET
        _show(definition)
    _show(schema)
    return schema


def _fill(schema: Schema, recipe: Recipe) -> None:
    """Replace the generic parameters `inputs` and `values` by fields of this recipe. Missing inputs are required."""
    properties = schema["properties"]
    properties["recipe"] = {
        **{"type": "string", "const": recipe.name, "default": recipe.name},
        "description": "Recipe of this deployment. Use the deployment `recipe` for others.",
    }
    values = values_schema(recipe)
    if len(recipe.sources) == 1:
        # The parameter `inputs` takes the place of the only source's inputs.
        [source] = values["properties"]["sources"]["properties"].values()
        properties["inputs"] = source["properties"].pop("inputs")
        missing = source.pop("required", None)
        for section in (values["properties"]["sources"], values):
            section.pop("required", None)
        required = ["inputs"] if missing else []
    else:
        del properties["inputs"]
        required = ["values"] if "required" in values else []
    properties["values"] = {**values, "description": properties["values"]["description"]}
    schema["required"] = [*schema.get("required", []), *required]


def _choice(body: Schema, names: list[str], given: Any) -> Schema:
    """A list of names, or a free value. The dashboard distinguishes alternatives by their JSON type."""
    nullable = any(one.get("type") == "null" for one in body.get("anyOf", []))
    if isinstance(given, str) and given not in names and names:
        names = [*names, given]
    if not names:
        return body
    alternatives: list[Schema] = [
        {"type": "string", "enum": names, "title": LISTED},
        {
            "type": "object",
            "title": OTHER,
            "properties": {"name": {"type": "string", "minLength": 1, "title": "name"}},
            "required": ["name"],
            "additionalProperties": False,
        },
    ]
    default = body.get("default")
    if nullable and default is not None:
        alternatives.append({"type": "null", "title": NONE})
    kept = {name: value for name, value in body.items() if name not in ("anyOf", "type", "default")}
    return {**kept, "anyOf": alternatives, **({} if default is None else {"default": default})}


def _show(schema: Schema) -> None:
    """Adapt an object's fields to the dashboard's form; see docs/prefect.md."""
    for position, (name, body) in enumerate(schema.get("properties", {}).items()):
        body["title"] = name
        body["position"] = position
        _drop_null(body)
        _tell_limits(body)
        if body.get("type") == "boolean" and "default" not in body:
            # A switch would always send false. Without a type, the dashboard draws a list of the values.
            del body["type"]
            body["enum"] = [True, False]
        for alternative in body.get("anyOf", []):
            alternative.setdefault("title", NONE if alternative.get("type") == "null" else SET)
            _show(alternative)
        _show(body)


def _tell_limits(body: Schema) -> None:
    """Add a number's limits to its description; the dashboard does not show them."""
    limits = [f"{words} {body[name]:,.10g}" for name, words in _LIMITS.items() if name in body]
    if limits:
        told = " and ".join(limits)
        body["description"] = f"{body.get('description') or ''} {told[0].upper()}{told[1:]}.".strip()


def _drop_null(body: Schema) -> None:
    """Make a field with default null an empty field; otherwise the user must choose a type first."""
    if "anyOf" not in body or body.get("default", ...) is not None:
        return
    rest = [one for one in body["anyOf"] if one.get("type") != "null"]
    if len(rest) == 1:
        del body["anyOf"], body["default"]
        body.update({**rest[0], **body})
