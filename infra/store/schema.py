"""What objects of a lake may say: every value is checked against a dataclass before anything uses it.

Others may write the lake, disks lose blocks, and other versions write other fields. `read_value` returns an instance of
a dataclass, or raises Corrupt with the object, the field and the cure. Annotated types such as `Digest` say which
values a field takes. The checks of a dataclass are compiled once: markers are read by the thousands.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import logging
import math
import re
import types
import typing
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from infra.store.errors import Corrupt, NotThere

if typing.TYPE_CHECKING:
    from infra.store.lake import Lake

T = TypeVar("T")
_logger = logging.getLogger("millrace.store")
Check = Callable[[Any], Any]  # returns the checked value, or raises _Wrong

DELETE_IT = "Delete it, so that it is made again"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A string that the whole regular expression matches; `told` describes it."""

    expression: str
    told: str

    def fits(self, text: str) -> bool:
        """Whether the expression matches the whole text."""
        return re.fullmatch(self.expression, text) is not None


@dataclass(frozen=True, slots=True)
class Range:
    """A number of at least `low` and at most `high`."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Parsed:
    """A string that `parse` takes without a ValueError; `told` describes it."""

    parse: Callable[[str], Any]
    told: str


MOST = 2**53  # what all readers of JSON hold exactly
DEEPEST = 64  # nested lists and mappings of plain JSON
SHA256 = Pattern("[0-9a-f]{64}", "a sha256 in hexadecimal digits")
SUFFIX = Pattern(r"(?=.{0,32}\Z)(\.[a-z0-9]{1,16}){0,4}", "suffixes such as .bin")
Digest = Annotated[str, SHA256]
Suffix = Annotated[str, SUFFIX]
StageName = Annotated[str, Pattern("[a-z0-9][a-z0-9_.-]{0,127}", "the name of a stage")]
Count = Annotated[int, Range(0, MOST)]
Seconds = Annotated[float, Range(0, 1e12)]
Time = Annotated[str, Parsed(lambda text: _with_zone(text), "a time such as 2026-01-31T12:00:00+00:00")]
# One component of a path in the lake.
Component = Annotated[str, Pattern("[A-Za-z0-9_][A-Za-z0-9_.@-]{0,199}", "letters, digits, '.', '_', '@' and '-'")]


def read_object(lake: Lake, path: str, kind: type[T], cure: str = DELETE_IT) -> T:
    """The object at `path` as a `kind`. Raises NotThere, Corrupt and the store's errors."""
    return read_value(kind, lake.read_json(path), f"{lake.uri}/{path}", cure)


def find_object(lake: Lake, path: str, kind: type[T], cure: str = DELETE_IT) -> T | None:
    """`read_object`, or None when there is no such object."""
    try:
        return read_object(lake, path, kind, cure)
    except NotThere:
        return None


def sound_object(lake: Lake, path: str, kind: type[T]) -> T | None:
    """`find_object`, for what its owner writes again: a damaged object is none, and is logged."""
    try:
        return find_object(lake, path, kind)
    except Corrupt as error:
        _logger.warning("%s", error)
        return None


def read_value(kind: Any, value: Any, where: str, cure: str = DELETE_IT) -> Any:
    """`value`, as JSON gives it, as a `kind`. Raises Corrupt, which names `where`, the field and `cure`."""
    try:
        return _check_of(kind)(value)
    except _Wrong as error:
        raise Corrupt(f"{where} is not what Millrace writes there: {error}. {cure}") from None


def as_json(value: Any) -> Any:
    """A value, of dataclasses and of what JSON has, as JSON has it: what `read_value` reads.

    Unlike `dataclasses.asdict` it copies no leaves: a manifest has a hundred thousand parts.
    """
    kind = type(value)
    if kind is str or kind is int:
        return value
    if kind is dict:
        return {name: as_json(item) for name, item in value.items()}
    if kind is tuple or kind is list:
        return [as_json(item) for item in value]
    names = _names_of(typing.cast(Hashable, kind))
    return value if names is None else {name: as_json(getattr(value, name)) for name in names}


def parse_json(data: bytes, where: str) -> Any:
    """The value of a JSON text in UTF-8. Raises Corrupt, also for what is nested too deep and for lone surrogates."""
    try:
        text = data.decode()
        value = json.loads(text, parse_constant=_refuse_constant)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        told = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Corrupt(f"{where} is not JSON ({told}). {DELETE_IT}: it is empty, damaged or foreign.") from error
    return value


class _Wrong(Exception):
    """A value is not what it should be; `path` is the way to it, innermost first."""

    def __init__(self, told: str) -> None:
        self.told = told
        self.path: list[str] = []

    def at(self, step: str) -> _Wrong:
        self.path.append(step)
        return self

    def __str__(self) -> str:
        return f"{''.join(reversed(self.path)).lstrip('.') or 'it'} {self.told}"


@functools.lru_cache(maxsize=512)
def _check_of(kind: Any) -> Check:
    """The check of a type: of JSON's own types, of dataclasses and of what they are made of."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _dataclass(typing.cast(type, kind))
    if origin is Annotated:
        return _limited(_check_of(arguments[0]), arguments[1:])
    if origin is typing.Literal:
        return _literal(arguments)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments)
    if origin is tuple:
        return _many(_check_of(arguments[0])) if arguments[-1] is Ellipsis else _few(tuple(map(_check_of, arguments)))
    if origin is list:
        item = _many(_check_of(arguments[0]))
        return lambda value: list(item(value))
    if origin in (dict, Mapping):
        return _mapping(_check_of(arguments[0]), _check_of(arguments[1]))
    if kind is Any:
        return _plain
    if kind in _SCALARS:
        return _SCALARS[kind]
    raise TypeError(f"{kind} has no check: describe it with JSON's types and dataclasses")


@functools.lru_cache(maxsize=512)
def _names_of(kind: Any) -> tuple[str, ...] | None:
    """The fields of a dataclass; None for another type."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


def _dataclass(kind: type) -> Check:
    hints = typing.get_type_hints(kind, include_extras=True)
    checks = [(field.name, _check_of(hints[field.name])) for field in dataclasses.fields(kind) if field.init]
    names = {name for name, _ in checks}
    needed = {
        field.name
        for field in dataclasses.fields(kind)
        if field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def check(value: Any) -> Any:
        if type(value) is not dict:
            raise _Wrong(f"is {_shown(value)}; it must be a mapping with the fields of {kind.__name__}")
        if not value.keys() <= names:
            raise _Wrong(
                f"has the unknown field {_shown(min(map(str, value.keys() - names)))}: another version wrote it"
            )
        if not needed <= value.keys():
            raise _Wrong(f"has no field {min(needed - value.keys())!r}")
        fields = {}
        for name, field in checks:
            if name in value:
                try:
                    fields[name] = field(value[name])
                except _Wrong as error:
                    raise error.at(f".{name}") from None
        try:
            return kind(**fields)
        except ValueError as error:  # of its own validation
            raise _Wrong(f"is wrong: {error}") from None

    return check


def _limited(check: Check, limits: tuple[Any, ...]) -> Check:
    for limit in limits:
        if isinstance(limit, Pattern):
            check = _matching(check, limit)
        elif isinstance(limit, Range):
            check = _within(check, limit)
        elif isinstance(limit, Parsed):
            check = _parsing(check, limit)
    return check


def _matching(check: Check, pattern: Pattern) -> Check:
    matches = re.compile(pattern.expression).fullmatch

    def matching(value: Any) -> Any:
        if type(value) is str and matches(value):
            return value
        check(value)
        raise _Wrong(f"is {_shown(value)}; it must be {pattern.told}")

    return matching


def _within(check: Check, limits: Range) -> Check:
    def within(value: Any) -> Any:
        value = check(value)
        if value is None or limits.low <= value <= limits.high:
            return value
        raise _Wrong(f"is {_shown(value)}; it must be from {limits.low:g} to {limits.high:g}")

    return within


def _parsing(check: Check, how: Parsed) -> Check:
    def parsing(value: Any) -> Any:
        try:
            how.parse(check(value))
        except ValueError:
            raise _Wrong(f"is {_shown(value)}; it must be {how.told}") from None
        return value

    return parsing


def _with_zone(text: str) -> None:
    if datetime.datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("no time zone")


def _literal(allowed: tuple[Any, ...]) -> Check:
    def check(value: Any) -> Any:
        for one in allowed:
            if type(value) is type(one) and value == one:
                return value
        raise _Wrong(f"is {_shown(value)}; it must be one of {', '.join(map(repr, allowed))}")

    return check


def _union(kinds: tuple[Any, ...]) -> Check:
    others = [_check_of(kind) for kind in kinds if kind is not types.NoneType]
    optional = len(others) < len(kinds)

    def check(value: Any) -> Any:
        if value is None and optional:
            return None
        for one in others[:-1]:
            try:
                return one(value)
            except _Wrong:
                continue
        return others[-1](value)

    return check


def _many(item: Check) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not list:
            raise _Wrong(f"is {_shown(value)}; it must be a list")
        found = []
        for one in value:
            try:
                found.append(item(one))
            except _Wrong as error:
                raise error.at(f"[{len(found)}]") from None
        return tuple(found)

    return check


def _few(items: tuple[Check, ...]) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not list or len(value) != len(items):
            raise _Wrong(f"is {_shown(value)}; it must be a list of {len(items)}")
        found = []
        for number, (item, one) in enumerate(zip(items, value, strict=True)):
            try:
                found.append(item(one))
            except _Wrong as error:
                raise error.at(f"[{number}]") from None
        return tuple(found)

    return check


def _mapping(key: Check, item: Check) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not dict:
            raise _Wrong(f"is {_shown(value)}; it must be a mapping")
        found = {}
        for name, one in value.items():
            try:
                found[key(name)] = item(one)
            except _Wrong as error:
                raise error.at(f".{_shown(name)}") from None
        return found

    return check


def _exactly(kind: type, told: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is kind:  # a bool is no int
            return value
        raise _Wrong(f"is {_shown(value)}; it must be {told}")

    return check


def _number(value: Any) -> Any:
    if (type(value) is int and abs(value) <= MOST) or (type(value) is float and math.isfinite(value)):
        return value
    raise _Wrong(f"is {_shown(value)}; it must be a finite number")


def _integer(value: Any) -> Any:
    if type(value) is int and abs(value) < 2**64:
        return value
    raise _Wrong(f"is {_shown(value)}; it must be an integer")


def _plain(value: Any) -> Any:
    """JSON of any form, of finite numbers and bounded depth."""
    level: Iterator[Any] = iter((value,))
    for _ in range(DEEPEST):
        below: list[Any] = []
        for one in level:
            if type(one) is list:
                below += one
            elif type(one) is dict:
                below += one.values()
            elif type(one) is float and not math.isfinite(one):
                raise _Wrong(f"contains {one}; numbers must be finite")
        if not below:
            return value
        level = iter(below)
    raise _Wrong(f"is nested more than {DEEPEST} deep")


_SCALARS: dict[Any, Check] = {
    str: _exactly(str, "a string"),
    bool: _exactly(bool, "true or false"),
    int: _integer,
    float: _number,
    types.NoneType: _exactly(types.NoneType, "null"),
}


def _shown(value: Any) -> str:
    """A short form of a value for messages."""
    if isinstance(value, (list, dict)):
        return f"a {'list' if isinstance(value, list) else 'mapping'} of {len(value)}"
    text = repr(value) if not isinstance(value, int) or value.bit_length() < 200 else "an enormous integer"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
