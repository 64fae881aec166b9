"""The source of Parquet files, one document per row."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pydantic

from infra.outcomes import Failed, Outcome, Record
from infra.stage import StageKind, stage
from tasks.sources.fields import FieldsConfig, outcome_of
from tasks.sources.repair import repairing

# A few stored bytes can be thousands of large values, of one dictionary or with a prefix in common: one row at a time
# is in memory. Columns that are dictionaries in Arrow too come with all their values for every batch.
_ROWS_AT_ONCE = 1
_ROWS_OF_DICTIONARIES = 64


class BrokenFile(StrEnum):
    """The fault of a file, of a group of rows, or of a row."""

    not_parquet = "not_parquet"
    broken_row_group = "broken_row_group"
    repeated_column = "repeated_column"
    row_too_large = "row_too_large"
    not_utf8 = "not_utf8"


class ParquetConfig(FieldsConfig):
    """The fields of a row, see `tasks.sources.fields`. The text of a row is at most `max_text_bytes` long."""

    source: str = pydantic.Field("parquet", min_length=1, pattern=r"^[^\s/]+$")
    # Later stages take some 30 bytes of memory for a byte of a document.
    max_text_bytes: int = pydantic.Field(16 << 20, ge=1 << 10)


@stage("parquet", version=2, kind=StageKind.source, config=ParquetConfig, libraries=["pyarrow"])
@repairing
def read_parquet(stream: BinaryIO, name: str, config: ParquetConfig) -> Iterator[Record | Outcome]:
    """Yield every row, to be read for its outcome, and one outcome for a file or a group of rows that is broken.

    Only the fields of the config are read. Bytes count text. Offsets are numbers of rows.
    """
    try:
        file = pq.ParquetFile(stream)
        groups, schema = file.metadata.num_row_groups, file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        yield Failed(BrokenFile.not_parquet, stream.seek(0, 2), f"{name}: {_first_line(error)}", 0)
        return
    columns = list(
        dict.fromkeys(field if field in schema.names else field.partition(".")[0] for field in config.fields())
    )
    if repeated := [column for column in columns if schema.names.count(column) > 1]:
        detail = f"{name}: several columns are named {repeated[0]!r}; give each a name of its own"
        yield Failed(BrokenFile.repeated_column, stream.seek(0, 2), detail, 0)
        return
    dictionaries = any(_has_dictionary(field.type) for field in schema if field.name in columns)
    at_once = _ROWS_OF_DICTIONARIES if dictionaries else _ROWS_AT_ONCE
    offset = 0
    for number in range(groups):
        group = file.metadata.row_group(number)
        row = offset
        try:
            for batch in file.iter_batches(at_once, [number], columns, use_threads=False):
                for place in range(batch.num_rows):
                    yield _record(batch.slice(place, 1), name, row, config)
                    row += 1
        except (pa.ArrowException, OSError) as error:
            lost = offset + group.num_rows - row
            detail = f"{name}, row group {number}, from row {row}: {_first_line(error)}; {lost} rows are lost"
            yield Failed(BrokenFile.broken_row_group, 0, detail, row)
        offset += group.num_rows


def _has_dictionary(kind: pa.DataType) -> bool:
    return pa.types.is_dictionary(kind) or any(_has_dictionary(kind.field(n).type) for n in range(kind.num_fields))


def _record(values: pa.RecordBatch, name: str, row: int, config: ParquetConfig) -> Record | Outcome:
    where = f"{name}, row {row}"
    data = _text_bytes(values, config.text_field)
    if len(data) > config.max_text_bytes:
        detail = f"{where}: the text has {len(data)} bytes, more than {config.max_text_bytes}"
        return Failed(BrokenFile.row_too_large, len(data), detail, row)
    return Record(data, row, partial(_outcome, values, len(data), where, row, config))


def _text_bytes(row: pa.RecordBatch, field: str) -> bytes:
    """The bytes of the text, before they are decoded; none if there is no text."""
    names = [field] if field in row.schema.names else field.split(".")
    if names[0] not in row.schema.names:
        return b""
    value = row.column(names[0])[0]
    for inner in names[1:]:
        if not isinstance(value, pa.StructScalar) or not value.is_valid or inner not in value.type.names:
            return b""
        value = value[inner]
    while isinstance(value, (pa.DictionaryScalar, pa.ExtensionScalar)) and value.is_valid:
        value = value.value
    text = isinstance(value, (pa.StringScalar, pa.LargeStringScalar, pa.StringViewScalar)) and value.is_valid
    return value.as_buffer().to_pybytes() if text else b""


def _outcome(row: pa.RecordBatch, size: int, where: str, offset: int, config: ParquetConfig) -> Outcome:
    try:
        [values] = row.to_pylist(maps_as_pydicts="strict")
    except UnicodeDecodeError as error:
        return Failed(BrokenFile.not_utf8, size, f"{where}: {error.reason} at byte {error.start} of a value", offset)
    except (ValueError, OverflowError, LookupError, pa.ArrowException) as error:
        # A time that Python cannot hold, a time zone that it does not know, or a map with a key twice.
        return Failed(BrokenFile.broken_row_group, size, f"{where}: {_first_line(error)}", offset)
    return outcome_of(values, size, where, offset, config)


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]
