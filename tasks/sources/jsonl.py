"""The source of JSON Lines, one document per line: the format of C4, the Pile, RedPajama and Dolma."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, BinaryIO

import pydantic

from infra.outcomes import Document, Dropped, Failed, Kept, Outcome
from infra.stage import StageConfig, StageKind, stage
from tasks.sources.codecs import StoredFault, detect_codec
from tasks.sources.compression import decode
from tasks.sources.extraction import storable

_EXAMPLE_LENGTH = 200


class BrokenLine(StrEnum):
    """The fault of a line."""

    not_utf8 = "not_utf8"
    not_json = "not_json"
    no_text = "no_text"
    line_too_long = "line_too_long"


class JsonLinesConfig(StageConfig):
    """The fields of a line. Of `metadata_fields`, those present with plain values (string, number, boolean) are kept.

    Without an `id_field`, the id is a hash of the line's content, so equal lines become one document.
    """

    source: str = pydantic.Field("jsonl", min_length=1, pattern=r"^[^\s/]+$")
    text_field: str = "text"
    id_field: str | None = None
    url_field: str | None = "url"
    date_field: str | None = None
    licence: str | None = None
    metadata_fields: tuple[str, ...] = ()
    min_characters: int = pydantic.Field(1, ge=1)
    max_line_bytes: int = pydantic.Field(64 << 20, ge=1 << 10)


@stage("jsonl", version=1, kind=StageKind.source, config=JsonLinesConfig, libraries=["FastWARC"])
def read_json_lines(stream: BinaryIO, name: str, config: JsonLinesConfig) -> Iterator[Outcome]:
    """Yield one outcome per non-blank line, and one for damage of the compressed file.

    Bytes count decompressed lines. The offset of a failure is the offset of its line in the decompressed text.
    """
    offset = 0
    try:
        for line, whole in _lines(stream, config.max_line_bytes):
            if not whole:
                yield Failed(BrokenLine.line_too_long, len(line), f"{name}: over {config.max_line_bytes} bytes", offset)
            elif line.strip():
                yield _document(line, name, offset, config)
            offset += len(line)
    except StoredFault as fault:
        yield Failed(fault.reason, 0, f"{name}: {fault.detail}", fault.offset)


def _document(line: bytes, name: str, offset: int, config: JsonLinesConfig) -> Outcome:
    example = f"{name}, byte {offset}: {line[:_EXAMPLE_LENGTH]!r}"
    try:
        values: Any = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return Failed(BrokenLine.not_utf8, len(line), example, offset)
    except ValueError:
        return Failed(BrokenLine.not_json, len(line), example, offset)
    if not isinstance(values, dict) or not isinstance(values.get(config.text_field), str):
        return Failed(BrokenLine.no_text, len(line), example, offset)
    text = storable(values[config.text_field])
    if len(text) < config.min_characters:
        return Dropped("short_text" if text else "empty_text", len(line), example)
    own = values.get(config.id_field) if config.id_field else None
    identity = str(own) if own is not None else hashlib.sha1(line.strip()).hexdigest()
    kept = {field: values[field] for field in config.metadata_fields if _is_plain(values.get(field))}
    document = Document(
        id=f"{config.source}/{identity}",
        text=text,
        url=_string(values, config.url_field),
        date=_string(values, config.date_field),
        source=config.source,
        licence=config.licence,
        metadata={"offset": offset, **kept},
    )
    return Kept(document, len(line))


def _lines(stream: BinaryIO, longest: int) -> Iterator[tuple[bytes, bool]]:
    """Yield lines with their line ends, and whether each is complete; pieces of an overlong line are not."""
    head = stream.read(8)
    stream.seek(0)
    held = bytearray()
    overlong = False
    for _, piece in decode(detect_codec(head), stream, 0):
        held += piece
        start = 0
        while (end := held.find(b"\n", start)) >= 0:
            yield bytes(held[start : end + 1]), not overlong
            overlong, start = False, end + 1
        del held[:start]
        if len(held) > longest:
            yield bytes(held), False
            held.clear()
            overlong = True
    if held:
        yield bytes(held), not overlong


def _string(values: dict[str, Any], field: str | None) -> str | None:
    value = values.get(field) if field else None
    return value if isinstance(value, str) else None


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float))
