"""The source of JSON Lines, one document per line: the format of C4, the Pile, RedPajama and Dolma."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

import pydantic

from infra.outcomes import Failed, Outcome, Record
from infra.stage import StageKind, stage
from tasks.sources.codecs import StoredFault
from tasks.sources.decompressed import decompressed
from tasks.sources.fields import FieldsConfig, outcome_of
from tasks.sources.json_line import BrokenLine, LineFault, parse_line
from tasks.sources.lines import read_lines
from tasks.sources.repair import repairing


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


@stage("jsonl", version=4, kind=StageKind.source, config=JsonLinesConfig, libraries=["backports.zstd", "FastWARC"])
@repairing
def read_json_lines(stream: BinaryIO, name: str, config: JsonLinesConfig) -> Iterator[Record | Outcome]:
    """Yield every non-blank line, to be read for its outcome, and one outcome for damage of the compressed file.

    Bytes count decompressed lines. The offset of a failure is the offset of its line in the decompressed text. Damage
    counts the bytes of the line that it cuts. A line may begin with a byte-order mark, as where files were joined.
    """
    offset = 0
    for line in read_lines(decompressed(stream), config.max_line_bytes):
        if isinstance(line.fault, StoredFault):
            yield Failed(line.fault.reason, line.size, f"{name}: {line.fault.detail}", line.fault.offset)
        elif line.content is None:
            detail = f"{name}, byte {offset}: the line is longer than {config.max_line_bytes} bytes"
            yield Failed(BrokenLine.line_too_long, line.size, detail, offset)
        elif line.content.strip():
            read = partial(_outcome, line.content, f"{name}, byte {offset}", offset, config)
            yield Record(line.content, offset, read)
        offset += line.size


def _outcome(line: bytes, where: str, offset: int, config: JsonLinesConfig) -> Outcome:
    # Examples show where a line is and not what it says: they are read by more people than inputs are.
    try:
        values = parse_line(line, config.max_depth, config.max_values)
    except LineFault as fault:
        return Failed(fault.reason, len(line), f"{where}: {fault}", offset)
    return outcome_of(values, len(line), where, offset, config)
