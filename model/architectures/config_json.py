"""Read entries of a `config.json` and check type and range. All functions raise ValueError naming the entry."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

# Far above the sizes of any model; up to here, fp32 represents every position exactly.
LARGEST_SIZE = 2**24


def expect(values: Mapping[str, Any], name: str, only: Any, default: Any = None) -> None:
    """Require the value `only`. `default` is the default of `transformers`; None for an entry that must be present."""
    found = values[name] if default is None else values.get(name, default)
    if found != only:
        raise ValueError(f"{name} is {found!r}; only {only!r} is supported for {values['model_type']}")


def size(values: Mapping[str, Any], name: str) -> int:
    """A number of layers, heads and the like, at least 1. Raises KeyError when it is missing."""
    found = values[name]
    # A bool is an int to Python, but never a number of layers.
    if type(found) is not int or not 1 <= found <= LARGEST_SIZE:
        raise ValueError(f"{name} is {found!r}; it must be a whole number from 1 to {LARGEST_SIZE:,}")
    return found


def number(values: Mapping[str, Any], name: str, default: float) -> float:
    """Any finite number."""
    found = values.get(name, default)
    if type(found) not in (int, float) or not abs(found) <= sys.float_info.max:
        raise ValueError(f"{name} is {found!r}; it must be a number")
    return float(found)


def positive(values: Mapping[str, Any], name: str, default: float) -> float:
    """A number above 0."""
    found = number(values, name, default)
    if found <= 0:
        raise ValueError(f"{name} is {found!r}; it must be above 0")
    return found


def flag(values: Mapping[str, Any], name: str, default: bool) -> bool:
    """True or false."""
    found = values.get(name, default)
    if type(found) is not bool:
        raise ValueError(f"{name} is {found!r}; it must be true or false")
    return found


def mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object; empty when the entry is missing or null."""
    found = values.get(name)
    if found is not None and not isinstance(found, Mapping):
        raise ValueError(f"{name} is {found!r}; it must be an object or null")
    return found or {}


def token(values: Mapping[str, Any], name: str) -> int | None:
    """A token id; None when there is none."""
    found = values.get(name)
    # Early converted files of LLaMA use -1 for "none".
    if found is None or (type(found) is int and found < 0):
        return None
    if type(found) is not int:
        raise ValueError(f"{name} is {found!r}; it must be one id")
    return found


def rotation(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entries of the rotary embedding, of transformers 5 or 4. Raises ValueError when positions are scaled."""
    rope = mapping(values, "rope_parameters") or mapping(values, "rope_scaling")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise ValueError(f"the rotary embedding has the type {kind!r}; only 'default' is supported")
    return rope
