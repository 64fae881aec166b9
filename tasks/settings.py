"""What people write: YAML files, and ``KEY=VALUE`` that replaces one of their values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pydantic
import yaml

# The bundled recipes have a hundred values, of eight levels at most, in 3,000 characters.
_LONGEST_TEXT = 256 << 10
_MOST_VALUES = 50_000
_MOST_LEVELS = 50
_LONGEST_NUMBER = 100
_SHOWN = 200
_INTEGER, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


class RecipeError(Exception):
    """A recipe or config that cannot be carried out, with the name of the value and what is allowed."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1, but for its implicit types: ``on`` and ``no`` are words, and so are dates. A key stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        written: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            if key.value in written:
                problem = f"the key {key.value!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            written.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """A number. YAML 1.1 has numbers to the base 60, which take long where they are long."""
        if len(node.value) > _LONGEST_NUMBER:
            problem = f"a number has more than {_LONGEST_NUMBER} characters"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        integer = node.tag == _INTEGER
        found: int | float = self.construct_yaml_int(node) if integer else self.construct_yaml_float(node)
        return found


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


for _tag in (_INTEGER, _FLOAT):
    _Loader.add_constructor(_tag, _Loader.construct_number)


def load_yaml(text: str) -> Any:
    """The value in a YAML text; only true and false are booleans, as in YAML 1.2.

    Raises yaml.YAMLError, also for a text that is too long or nested too deeply, and for one whose aliases and merge
    keys repeat so much that it would become too large.
    """
    if len(text) > _LONGEST_TEXT:
        raise yaml.YAMLError(f"it has more than {_LONGEST_TEXT} characters")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count_values(node, {}, 0)
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError(f"it is nested more than {_MOST_LEVELS} levels deep") from error
    finally:
        loader.dispose()


def read_mapping(path: Path, expected: str) -> dict[str, Any]:
    """The mapping in a YAML file. Raises RecipeError when it cannot be read, or holds something else."""
    try:
        with path.open(encoding="utf-8") as stream:
            values = load_yaml(stream.read(_LONGEST_TEXT + 1))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are no UTF-8
        raise RecipeError(f"{path} is not YAML: {_problem(error)}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path} is not {expected}: expected a mapping, found {_kind(values)}")
    return values


def split_setting(setting: str) -> tuple[str, Any]:
    """The dotted key and the value, read as YAML, of ``KEY=VALUE``. Raises RecipeError."""
    key, sign, text = setting.partition("=")
    if not sign or not key:
        raise RecipeError(f"--set {setting}: write KEY=VALUE")
    try:
        return key, load_yaml(text)
    except (yaml.YAMLError, ValueError) as error:
        shown = setting if len(setting) <= _SHOWN else f"{setting[:_SHOWN]}..."
        raise RecipeError(f"--set {shown}: the value is not YAML: {_problem(error)}") from error


def replace_at(values: Any, path: Sequence[str | int], value: Any) -> None:
    """Set the value at a path into nested mappings and lists. A mapping that is missing or null on the way is made."""
    *way, last = path
    for part in way:
        if isinstance(values, dict) and values.get(part) is None:
            values[part] = {}
        values = values[part]
    values[last] = value


def nested_settings(settings: Iterable[str]) -> dict[str, Any]:
    """The nested values of ``KEY=VALUE`` settings; a later one replaces an earlier one. Raises RecipeError."""
    values: dict[str, Any] = {}
    for setting in settings:
        key, value = split_setting(setting)
        try:
            replace_at(values, key.split("."), value)
        except TypeError as error:
            raise RecipeError(f"--set {setting}: another setting already gives a part of {key} a value") from error
    return values


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes`, section by section. A section that is null becomes what is set in it."""
    result = deepcopy(dict(values))
    for name, change in changes.items():
        held = result.get(name)
        if isinstance(change, Mapping) and isinstance(held, Mapping):
            result[name] = merged(held, change)
        else:
            result[name] = deepcopy(change)
    return result


def problems_of(error: pydantic.ValidationError, whole: str = "value") -> list[str]:
    """The dotted key and the reason of every wrong value; what is wrong with no value alone stands under `whole`."""
    return [
        f"{'.'.join(map(str, problem['loc'])) or whole}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors()
    ]


def refusal(where: str, expected: str, faults: list[str]) -> str:
    """The message that `where` is not what was expected, a line for each fault."""
    return "\n".join([f"{where} is not {expected}:", *(f"  {fault}" for fault in faults)])


def _count_values(node: yaml.Node, known: dict[int, int], level: int) -> int:
    """The number of values that a node stands for, with every alias written out."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = _MOST_VALUES + 1  # what it is if it contains itself
    parts = node.value if isinstance(node, yaml.CollectionNode) else ()
    inner = [item for part in parts for item in (part if isinstance(part, tuple) else (part,))]
    if level > _MOST_LEVELS:
        raise yaml.MarkedYAMLError(None, None, f"it is nested more than {_MOST_LEVELS} levels deep", node.start_mark)
    count = 1 + sum(_count_values(item, known, level + 1) for item in inner)
    if count > _MOST_VALUES:
        problem = f"its aliases repeat: written out, it has more than {_MOST_VALUES} values"
        raise yaml.MarkedYAMLError(None, None, problem, node.start_mark)
    known[id(node)] = count
    return count


def _problem(error: Exception) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem is None:
        return " ".join(str(error).split())
    mark = error.problem_mark
    return error.problem + (f" in line {mark.line + 1}, column {mark.column + 1}" if mark else "")


def _kind(values: Any) -> str:
    return "nothing" if values is None else f"a {type(values).__name__}"
