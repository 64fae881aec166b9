"""Entries of a `config.json`, each of its own type and in its own range; anything else raises WeightsError."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from model.huggingface.weights import WeightsError

# No size of a model is near it; up to here, fp32 holds every position.
LARGEST_SIZE = 2**24


def expect(values: Mapping[str, Any], name: str, only: Any, default: Any = None) -> None:
    """`default` is what `transformers` takes when the file says nothing; None where it must say something."""
    found = values[name] if default is None else values.get(name, default)
    if found != only:
        raise WeightsError(f"{name} is {found!r}; only {only!r} is known here for {values['model_type']}")


def size(values: Mapping[str, Any], name: str) -> int:
    """A number of layers, heads and the like, at least 1. Raises KeyError when it is missing."""
    found = values[name]
    # A bool is an int to Python, but never a number of layers.
    if type(found) is not int or not 1 <= found <= LARGEST_SIZE:
        raise WeightsError(f"{name} is {found!r}; it must be a whole number from 1 to {LARGEST_SIZE:,}")
    return found


def number(values: Mapping[str, Any], name: str, default: float) -> float:
    """Any finite number."""
    found = values.get(name, default)
    if type(found) not in (int, float) or not abs(found) <= sys.float_info.max:
        raise WeightsError(f"{name} is {found!r}; it must be a number")
    return float(found)


def positive(values: Mapping[str, Any], name: str, default: float) -> float:
    """A number above 0."""
    found = number(values, name, default)
    if found <= 0:
        raise WeightsError(f"{name} is {found!r}; it must be above 0")
    return found


def flag(values: Mapping[str, Any], name: str, default: bool) -> bool:
    """True or false."""
    found = values.get(name, default)
    if type(found) is not bool:
        raise WeightsError(f"{name} is {found!r}; it must be true or false")
    return found


def mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object; an empty one where there is none."""
    found = values.get(name)
    if found is not None and not isinstance(found, Mapping):
        raise WeightsError(f"{name} is {found!r}; it must be an object or null")
    return found or {}


def token(values: Mapping[str, Any], name: str) -> int | None:
    """The id of a token, None where there is none."""
    found = values.get(name)
    # LLaMA's converted files of the first days give -1 for "none".
    if found is None or (type(found) is int and found < 0):
        return None
    if type(found) is not int:
        raise WeightsError(f"{name} is {found!r}; it must be one id")
    return found
