"""Overrides of a configuration: one schema for YAML files, `--set`, flow parameters and the dashboard's forms."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import pydantic

from model.configuration import LIMITS


class Overrides(pydantic.BaseModel):
    """Values that replace some of a configuration's. What is not named keeps the configuration's value.

    A null is a value where the configuration allows it (`nullable`). Elsewhere it means that the field is not set:
    forms send it for an empty field. Unknown fields are refused.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    nullable: ClassVar[frozenset[str]] = frozenset()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _only_known_fields(cls, value: Any) -> Any:
        if isinstance(value, Overrides):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"expected a section with {', '.join(sorted(cls.model_fields))}, found {value!r}")
        for name in value:
            if name not in cls.model_fields:
                raise ValueError(f"there is no {name}; there are {', '.join(sorted(cls.model_fields))}")
        return {name: item for name, item in value.items() if item is not None or name in cls.nullable}

    def values(self) -> dict[str, Any]:
        """What is set, as nested plain values."""
        return {name: _plain(getattr(self, name)) for name in type(self).model_fields if name in self.model_fields_set}


def overrides_of(*kinds: type) -> type[Overrides]:
    """The overrides of a configuration, with its types, limits, choices and descriptions; nested ones as well.

    `kinds` are dataclasses or Pydantic models. Of several, the fields of all are taken, and a field that they share is
    that of the first.
    """
    fields: dict[str, Any] = {}
    nullable = set()
    for kind in kinds:
        for name, annotation, _, declared in _fields(kind):
            if name in fields:
                continue
            if type(None) in typing.get_args(annotation):
                nullable.add(name)
            field = pydantic.Field(None, json_schema_extra=_without_default, **declared)
            fields[name] = (_overridden(annotation), field)
    made = pydantic.create_model(f"{kinds[0].__name__}Overrides", __base__=Overrides, **fields)
    made.nullable = frozenset(nullable)
    return made


def request_of(kind: type, base: type[pydantic.BaseModel], **defaults: Any) -> type[pydantic.BaseModel]:
    """A Pydantic model with the fields of a dataclass, some of them with other defaults."""
    fields: dict[str, Any] = {}
    for name, annotation, default, declared in _fields(kind):
        fields[name] = (annotation, pydantic.Field(defaults.get(name, default), **declared))
    return pydantic.create_model(f"{kind.__name__}Fields", __base__=base, **fields)


def _fields(kind: type) -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Name, type, default, and description and limits of every field of a configuration."""
    if issubclass(kind, pydantic.BaseModel):
        for name, info in kind.model_fields.items():
            limits = {key: getattr(one, key) for one in info.metadata for key in LIMITS if hasattr(one, key)}
            yield name, info.annotation, info.default, {"description": info.description, **limits}
        return
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(typing.cast(Any, kind)):
        default = ... if field.default is dataclasses.MISSING else field.default
        declared = {name: field.metadata[name] for name in ("description", *LIMITS) if name in field.metadata}
        yield field.name, hints[field.name], default, declared


def _overridden(annotation: Any) -> Any:
    """The type of an override. A number is no string that reads as one, and none of both is a boolean."""
    if dataclasses.is_dataclass(annotation):
        return overrides_of(typing.cast(type, annotation))
    if annotation is float:
        return Annotated[float, pydantic.Field(strict=True, allow_inf_nan=False)]
    if annotation in (int, str, bool):
        return Annotated[annotation, pydantic.Field(strict=True)]
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return typing.Union[tuple(_overridden(one) for one in arguments)]  # noqa: UP007 - the members are computed
    if typing.get_origin(annotation) is tuple:
        return tuple[tuple(one if one is Ellipsis else _overridden(one) for one in arguments)]  # type: ignore[misc]
    return annotation


def _without_default(schema: dict[str, Any]) -> None:
    # A form would send the default; only what a person sets is an override.
    schema.pop("default", None)


def _plain(value: Any) -> Any:
    if isinstance(value, Overrides):
        return value.values()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
