"""Settings of a training request: values at dotted keys below ``model`` and ``training``."""

from __future__ import annotations

from typing import Any


class WrongSetting(ValueError):
    """A value of a training request that no run can have."""


def replace_setting(values: dict[str, Any], key: str, value: Any, opened: set[str]) -> None:
    """Set the value at a dotted key; a section that is null becomes one that holds what is set in it.

    What such a section may hold is for the configuration to say; `opened` remembers which they are.
    """
    target: Any = values
    where = ""
    for step in key.split("."):
        if not isinstance(target, dict) or (step not in target and where not in opened):
            known = ", ".join(sorted(target)) if isinstance(target, dict) else "nothing"
            raise WrongSetting(f"--set {key}: there is no {step}; there are {known}")
        where = f"{where}.{step}" if where else step
        if where == key:
            target[step] = value
            return
        if target.get(step) is None:
            target[step] = {}
            opened.add(where)
        target = target[step]


def is_set(key: str, settings: dict[str, Any]) -> bool:
    """Whether the value at a dotted key, something in it or a section around it is set."""
    return any(f"{one}.".startswith(f"{key}.") or key.startswith(f"{one}.") for one in settings)
