"""What people write: YAML files, and ``KEY=VALUE`` that replaces one of their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import yaml


class RecipeError(Exception):
    """A recipe or config that cannot be carried out, with the name of the value and what is allowed."""


def read_mapping(path: Path, expected: str) -> dict[str, Any]:
    """The mapping in a YAML file. Raises RecipeError when it cannot be read, or holds something else."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are no UTF-8, a date such as 2024-13-01
        raise RecipeError(f"{path} is not YAML: {_problem(error)}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path} holds {expected} only as a mapping, and this is {_kind(values)}")
    return values


def split_setting(setting: str) -> tuple[str, Any]:
    """The dotted key and the value, read as YAML, of ``KEY=VALUE``. Raises RecipeError."""
    key, sign, text = setting.partition("=")
    if not sign or not key:
        raise RecipeError(f"--set {setting}: write KEY=VALUE")
    try:
        return key, yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"--set {setting}: the value is not YAML: {_problem(error)}") from error


def replace_value(values: dict[str, Any], setting: str) -> None:
    """Carry ``KEY=VALUE`` out on `values`; members of lists go by name, reason or number. Raises RecipeError."""
    key, value = split_setting(setting)
    *path, last = key.split(".")
    target: Any = values
    for number, step in enumerate(path):
        target = _member(target, step, ".".join(path[: number + 1]))
    if isinstance(target, list):
        target[_position(target, last, key)] = value
    else:
        target[last] = value


def problems_of(error: pydantic.ValidationError, whole: str = "value") -> list[str]:
    """The dotted key and the reason of every wrong value; what is wrong with no value alone stands under `whole`."""
    return [
        f"{'.'.join(map(str, problem['loc'])) or whole}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors()
    ]


def refusal(where: str, expected: str, faults: list[str]) -> str:
    """The message that `where` is not what was expected, a line for each fault."""
    return "\n".join([f"{where} is not {expected}:", *(f"  {fault}" for fault in faults)])


def _problem(error: Exception) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem is None:
        return " ".join(str(error).split())
    mark = error.problem_mark
    return error.problem + (f" in line {mark.line + 1}, column {mark.column + 1}" if mark else "")


def _kind(values: Any) -> str:
    return "nothing" if values is None else f"a {type(values).__name__}"


def _member(target: Any, step: str, where: str) -> Any:
    if isinstance(target, list):
        step_or_number: Any = _position(target, step, where)
    else:
        step_or_number = step
        if target.get(step) is None:
            target[step] = {}
    found = target[step_or_number]
    if not isinstance(found, (dict, list)):
        raise RecipeError(f"--set {where}: the value there is {found!r}, with nothing inside")
    return found


def _position(items: list[Any], step: str, where: str) -> int:
    for number, item in enumerate(items):
        if str(number) == step or (isinstance(item, dict) and step in (item.get("name"), item.get("reason"))):
            return number
    names = [item.get("name") or item.get("reason") for item in items if isinstance(item, dict)]
    raise RecipeError(f"--set {where}: the list has no {step}; it has {', '.join(map(str, names)) or 'no members'}")
