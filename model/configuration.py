"""Conversion between frozen configurations and plain values; errors name unknown and missing fields."""

from __future__ import annotations

import dataclasses
import math
import operator
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Config = TypeVar("Config")
# Each limit of a field: its wording in messages and its comparison. NaN fails all of them.
LIMITS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "gt": ("above", operator.gt),
    "ge": ("at least", operator.ge),
    "lt": ("below", operator.lt),
    "le": ("at most", operator.le),
}


def from_plain(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """An instance of the dataclass `kind` from a mapping, including nested dataclasses.

    Raises ValueError when a field is unknown, missing or of another type. The message names `where`, the field and the
    allowed values.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} is {values!r}; it must be a mapping with the fields of {kind.__name__}")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise ValueError(f"{where}: there is no field {name!r}; the fields are {', '.join(fields)}")
    types = typing.get_type_hints(kind)
    arguments = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = _read(types[name], values[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING:
            raise ValueError(f"{where}: the field {name!r} is missing")
    return kind(**arguments)


def to_plain(config: Any) -> Any:
    """The configuration as dicts, lists and scalars, for canonical JSON."""
    if dataclasses.is_dataclass(config):
        return {field.name: to_plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    return [to_plain(item) for item in config] if isinstance(config, tuple) else config


def require(condition: bool, message: str) -> None:
    """Raise ValueError with `message` unless the condition holds; used to validate frozen configurations."""
    if not condition:
        raise ValueError(message)


def about(description: str, **limits: float) -> dict[str, Any]:
    """Metadata of a dataclass field: its description and the limits of its value (`ge`, `gt`, `le`, `lt`).

    Pydantic reads these names from the fields of a standard dataclass, so a JSON schema shows them. `require_limits`
    checks the same limits for every instance.
    """
    if unknown := set(limits) - set(LIMITS):
        raise TypeError(f"unknown limits {sorted(unknown)}; the limits are {', '.join(LIMITS)}")
    return {"description": description, **limits}


def require_limits(config: Any, where: str) -> None:
    """Check every field of a dataclass against the limits in its metadata. Raises ValueError naming the field."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        limits = {name: field.metadata[name] for name in LIMITS if name in field.metadata}
        if value is None or all(LIMITS[name][1](value, limit) for name, limit in limits.items()):
            continue
        allowed = " and ".join(f"{LIMITS[name][0]} {limit:g}" for name, limit in limits.items())
        raise ValueError(f"{where}: {field.name} is {value}; it must be {allowed}")


def _read(kind: Any, value: Any, where: str) -> Any:
    if value is None and type(None) in typing.get_args(kind):
        return None
    if typing.get_origin(kind) is types.UnionType:
        # An optional tuple; other members of a union are distinguished by the value's type below.
        kind = next((member for member in typing.get_args(kind) if typing.get_origin(member) is tuple), kind)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where} is {value!r}; it must be a list")
        items = typing.get_args(kind)
        kinds = [items[0]] * len(value) if items[-1] is Ellipsis else list(items)
        if len(kinds) != len(value):
            raise ValueError(f"{where} has {len(value)} entries; it must have {len(kinds)}")
        return tuple(
            _read(one, item, f"{where}[{index}]") for index, (one, item) in enumerate(zip(kinds, value, strict=True))
        )
    allowed = typing.get_args(kind) or (kind,)
    section = kind if dataclasses.is_dataclass(kind) else next(filter(dataclasses.is_dataclass, allowed), None)
    if section is not None:
        return from_plain(typing.cast(type, section), value, where)
    if typing.get_origin(kind) is typing.Literal:
        if value not in allowed:
            raise ValueError(f"{where} is {value!r}; it must be one of {', '.join(map(str, allowed))}")
        return value
    if float in allowed and type(value) is int:
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}; it must be finite")
    # Compare types exactly: in Python a bool is an int, but True is not a valid number.
    if type(value) not in allowed:
        names = " or ".join(getattr(member, "__name__", str(member)) for member in allowed)
        raise ValueError(f"{where} is {value!r}; it must be {names}")
    return value
