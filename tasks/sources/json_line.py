"""One line of JSON: parsed within limits, and without what JSON does not know."""

from __future__ import annotations

import json
import math
import re
from enum import StrEnum
from typing import Any

from tasks.sources.fields import LARGEST_INTEGER, Number

# A string, closed or not, or one character of structure. Possessive, so linear in the line.
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)
_MARK = b"\xef\xbb\xbf"
_ZERO = re.compile(r"-?0\.?0*(?:[eE][+-]?\d+)?")


class BrokenLine(StrEnum):
    """The fault of a line."""

    not_utf8 = "not_utf8"
    not_json = "not_json"
    too_complex = "too_complex"
    line_too_long = "line_too_long"


class LineFault(Exception):
    """A line cannot be parsed."""

    def __init__(self, reason: BrokenLine, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def parse_line(line: bytes, max_depth: int, max_values: int) -> Any:
    """The value of a line, at most `max_depth` levels deep and `max_values` values large. Raises LineFault.

    A line may begin with a byte-order mark, as where files were joined. Numbers that do not fit 64 bits are `Number`.
    """
    line = line.removeprefix(_MARK)
    if _is_complex(line, max_depth, max_values):
        detail = f"more than {max_values} values, or more than {max_depth} levels"
        raise LineFault(BrokenLine.too_complex, detail)
    try:
        return _parse(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        detail = f"{error.reason} at byte {error.start} of the line"
        raise LineFault(BrokenLine.not_utf8, detail) from None
    except ValueError as error:
        raise LineFault(BrokenLine.not_json, str(error)) from None


def _is_complex(line: bytes, max_depth: int, max_values: int) -> bool:
    """Whether a line is nested too deeply or has too many values, judged before it is parsed."""
    levels = line.count(b"[") + line.count(b"{")
    if levels <= max_depth and levels + line.count(b",") < max_values:
        return False
    depth, values = 0, 1
    for token in _STRUCTURE.finditer(line):
        match token[0]:
            case b"[" | b"{":
                depth += 1
                values += 1
            case b"]" | b"}":
                depth -= 1
            case b",":
                values += 1
        if depth > max_depth or values > max_values:
            return True
    return False


def _parse(line: str) -> Any:
    try:
        return json.loads(line, parse_constant=_refuse, parse_float=_real)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # An integer has more digits than Python converts: it is valid, and perhaps nobody needs it.
        return json.loads(line, parse_constant=_refuse, parse_float=_real, parse_int=_integer)


def _refuse(constant: str) -> None:
    raise json.JSONDecodeError(f"{constant} is no JSON", constant, 0)


def _integer(digits: str) -> int | Number:
    return int(digits) if len(digits) <= len(str(LARGEST_INTEGER)) else Number(digits)


def _real(literal: str) -> float | Number:
    """The number, or its text where 64 bits would make infinity or zero of it: different ids stay different."""
    value = float(literal)
    zero = value == 0 and not _ZERO.fullmatch(literal)
    return value if math.isfinite(value) and not zero else Number(literal)
