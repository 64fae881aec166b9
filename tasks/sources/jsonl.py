"""The source of JSON Lines, one document per line: the format of C4, the Pile, RedPajama and Dolma."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, BinaryIO

import pydantic

from infra.outcomes import Failed, Outcome, Record
from infra.stage import StageKind, stage
from tasks.sources.codecs import StoredFault, detect_codec
from tasks.sources.compression import decode
from tasks.sources.fields import LARGEST_INTEGER, FieldsConfig, Number, outcome_of

_MARK = b"\xef\xbb\xbf"
# A string, closed or not, or one character of structure. Possessive, so linear in the line.
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)
_ZERO = re.compile(r"-?0\.?0*(?:[eE][+-]?\d+)?")


class BrokenLine(StrEnum):
    """The fault of a line."""

    not_utf8 = "not_utf8"
    not_json = "not_json"
    too_complex = "too_complex"
    line_too_long = "line_too_long"


class JsonLinesConfig(FieldsConfig):
    """The fields of a line, see `tasks.sources.fields`.

    A line is at most `max_line_bytes` long without its line end, `max_depth` levels deep and `max_values` values large.
    """

    source: str = pydantic.Field("jsonl", min_length=1, pattern=r"^[^\s/]+$")
    # Later stages take some 30 bytes of memory for a byte of a document.
    max_line_bytes: int = pydantic.Field(16 << 20, ge=1 << 10)
    # A parsed value takes up to about 200 bytes, and each level one of the 1000 levels of the interpreter's stack.
    max_depth: int = pydantic.Field(100, ge=1, le=300)
    max_values: int = pydantic.Field(1 << 20, ge=1)


@stage("jsonl", version=4, kind=StageKind.source, config=JsonLinesConfig, libraries=["FastWARC"])
def read_json_lines(stream: BinaryIO, name: str, config: JsonLinesConfig) -> Iterator[Record | Outcome]:
    """Yield every non-blank line, to be read for its outcome, and one outcome for damage of the compressed file.

    Bytes count decompressed lines. The offset of a failure is the offset of its line in the decompressed text. Damage
    counts the bytes of the line that it cuts. A line may begin with a byte-order mark, as where files were joined.
    """
    offset = 0
    for line in _lines(stream, config.max_line_bytes):
        if isinstance(line.fault, StoredFault):
            yield Failed(line.fault.reason, line.size, f"{name}: {line.fault.detail}", line.fault.offset)
        elif line.content is None:
            detail = f"{name}, byte {offset}: the line is longer than {config.max_line_bytes} bytes"
            yield Failed(BrokenLine.line_too_long, line.size, detail, offset)
        elif line.content.strip():
            read = partial(_outcome, line.content, f"{name}, byte {offset}", offset, config)
            yield Record(line.content, offset, read)
        offset += line.size


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with its line end; `content` is None if it is too long, or cut by `fault`."""

    size: int
    content: bytes | None = None
    fault: StoredFault | None = None


def _lines(stream: BinaryIO, longest: int) -> Iterator[_Line]:
    """The lines of a file. Each byte is searched once, and at most `longest` bytes of a line are held."""
    head = stream.read(8)
    stream.seek(0)
    held = bytearray()
    size = 0
    try:
        for _, piece in decode(detect_codec(head), stream, 0):
            start = 0
            while start < len(piece):
                end = piece.find(b"\n", start) + 1 or len(piece)
                size += end - start
                if len(held) < longest + 3:
                    # Two bytes of a line end, and one to know that the line is too long.
                    held += piece[start : min(end, start + longest + 3 - len(held))]
                if piece[end - 1] == _LINE_FEED:
                    yield _ended(held, size, longest)
                    held.clear()
                    size = 0
                start = end
    except StoredFault as fault:
        yield _Line(size, None, fault)
        return
    if size:
        yield _ended(held, size, longest)


_LINE_FEED = ord("\n")


def _ended(held: bytearray, size: int, longest: int) -> _Line:
    whole = size == len(held) and len(held.rstrip(b"\r\n")) <= longest
    return _Line(size, bytes(held) if whole else None)


def _outcome(line: bytes, where: str, offset: int, config: JsonLinesConfig) -> Outcome:
    # Examples show where a line is and not what it says: they are read by more people than inputs are.
    line, size = line.removeprefix(_MARK), len(line)
    if _is_complex(line, config):
        detail = f"more than {config.max_values} values, or more than {config.max_depth} levels"
        return Failed(BrokenLine.too_complex, size, f"{where}: {detail}", offset)
    try:
        values = _parse(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Failed(BrokenLine.not_utf8, size, f"{where}: {error.reason} at byte {error.start} of the line", offset)
    except ValueError as error:
        return Failed(BrokenLine.not_json, size, f"{where}: {error}", offset)
    return outcome_of(values, size, where, offset, config)


def _is_complex(line: bytes, config: JsonLinesConfig) -> bool:
    """Whether a line is nested too deeply or has too many values, judged before it is parsed."""
    levels = line.count(b"[") + line.count(b"{")
    if levels <= config.max_depth and levels + line.count(b",") < config.max_values:
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
        if depth > config.max_depth or values > config.max_values:
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
