"""Detects keys that Prefect would silently ignore: its models for files drop unknown keys."""

from collections.abc import Mapping, Sequence
from typing import Any


def ignored_keys(given: Any, understood: Any, path: str = "") -> list[str]:
    """Dotted paths of the keys in `given` that are missing in `understood`, the dump of the model parsed from it."""
    if isinstance(given, Mapping):
        if not isinstance(understood, Mapping):
            return [path]
        found = []
        for key, value in given.items():
            here = f"{path}.{key}" if path else str(key)
            found += ignored_keys(value, understood[key], here) if key in understood else [here]
        return found
    if isinstance(given, Sequence) and not isinstance(given, str) and isinstance(understood, Sequence):
        return [
            key
            for number, (value, other) in enumerate(zip(given, understood, strict=True))
            for key in ignored_keys(value, other, f"{path}[{number}]")
        ]
    return []
