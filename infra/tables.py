"""Arrow tables in Parquet files: bounded row groups, and a digest of the values that is independent of encoding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 1000
ROW_GROUP_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class WrittenTable:
    """A written table: the number of rows, and the digest of schema and values."""

    rows: int
    content: str


class ContentDigest:
    """The digest of a stream of tables of one schema: values in row order, independent of batch boundaries."""

    def __init__(self, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema = schema
        self._columns = [_ColumnDigest(field.type) for field in schema]

    def update(self, table: pa.Table) -> None:
        """Add the rows of `table`, which must have the digest's schema."""
        for column, digest in zip(table.columns, self._columns, strict=True):
            for chunk in column.chunks:
                digest.update(chunk)
        self.rows += table.num_rows

    def hexdigest(self) -> str:
        """The digest of all rows added so far."""
        total = hashlib.sha256(str(self.rows).encode())
        for field, column in zip(self._schema, self._columns, strict=True):
            total.update(f"\0{field.name}\0{_type_name(field.type)}\0".encode())
            total.update(column.digest())
        return total.hexdigest()


class TableWriter:
    """Writes tables to one Parquet file, each as separate row groups; counts and digests the rows.

    `about` is the content digest of the shard that the rows annotate; a reader can require it.
    """

    def __init__(self, path: Path, schema: pa.Schema, about: str | None = None) -> None:
        metadata = {**(schema.metadata or {}), b"millrace.about": (about or "").encode()}
        self._path = path
        self._schema = schema
        self._digest = ContentDigest(schema)
        self._writer = pq.ParquetWriter(
            path, schema.with_metadata(metadata), compression="zstd", version="2.6", write_page_checksum=True
        )

    def write(self, table: pa.Table) -> None:
        """Append rows. Raises pa.ArrowInvalid or KeyError when they do not match the schema."""
        table = table.select(self._schema.names).cast(self._schema)
        self._digest.update(table)
        self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)

    def close(self) -> WrittenTable:
        """Finish the file. Raises RuntimeError when its number of rows differs from the number written."""
        self._writer.close()
        stored = pq.ParquetFile(self._path).metadata.num_rows
        if stored != self._digest.rows:
            raise RuntimeError(f"{self._path} has {stored} rows, but {self._digest.rows} were written to it")
        return WrittenTable(self._digest.rows, self._digest.hexdigest())


def read_row_groups(path: Path, columns: list[str] | None = None, about: str | None = None) -> Iterator[pa.Table]:
    """The row groups of a Parquet file in order.

    Raises ValueError when the file annotates a shard other than `about`: its rows would be joined to the wrong
    documents.
    """
    file = pq.ParquetFile(path, page_checksum_verification=True)
    if about is not None:
        found = (file.schema_arrow.metadata or {}).get(b"millrace.about", b"").decode()
        if found != about:
            raise ValueError(f"{path} annotates the shard {found[:12]}, not {about[:12]}: rows would not match")
    for group in range(file.num_row_groups):
        yield file.read_row_group(group, columns=columns)


def read_table(path: Path, columns: list[str] | None = None, about: str | None = None) -> pa.Table:
    """The whole file as one table."""
    groups = list(read_row_groups(path, columns, about))
    if groups:
        return pa.concat_tables(groups)
    schema = pq.read_schema(path)
    return (pa.schema([schema.field(name) for name in columns]) if columns is not None else schema).empty_table()


def stack_rows(tables: Iterable[tuple[int, pa.Table]], **kinds: type[np.generic]) -> dict[str, np.ndarray]:
    """Columns of the numbered tables that a partitioned stage's steps are given, as one array each, and ``shard``.

    `kinds` maps names of columns to their types, for when there is no table. ``shard`` (int32) is the table's number.
    """
    read = list(tables)
    numbers = [np.full(table.num_rows, number, np.int32) for number, table in read]
    found = {"shard": np.concatenate([np.empty(0, np.int32), *numbers])}
    for name, kind in kinds.items():
        found[name] = np.concatenate([np.empty(0, kind), *(table[name].to_numpy() for _, table in read)])
    return found


def places_of(rows: dict[str, np.ndarray]) -> np.ndarray:
    """shard · 2³² + row of stacked rows, which names a document in one number: int64."""
    places: np.ndarray = rows["row"].astype(np.int64) + (rows["shard"].astype(np.int64) << 32)
    return places


class _ColumnDigest:
    """The digest of one column. Hashes validity, lengths and values as three streams, to ignore batch boundaries."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._validity = hashlib.sha256()
        self._lengths = hashlib.sha256()
        self._values = hashlib.sha256()
        self._children: list[_ColumnDigest] = []
        if pa.types.is_struct(kind):
            self._children = [_ColumnDigest(kind.field(index).type) for index in range(kind.num_fields)]
        elif _is_list(kind):
            self._children = [_ColumnDigest(kind.value_type)]

    def update(self, array: pa.Array) -> None:
        self._validity.update(np.asarray(array.is_valid()).astype(np.uint8).tobytes())
        kind = self._kind
        if pa.types.is_struct(kind):
            for child, values in zip(self._children, array.flatten(), strict=True):
                child.update(values)
        elif _is_list(kind):
            lengths = pc.fill_null(pc.list_value_length(array), 0)
            self._lengths.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
            self._children[0].update(array.flatten())
        elif pa.types.is_string(kind) or pa.types.is_binary(kind):
            empty = b"" if pa.types.is_binary(kind) else ""
            self._update_bytes(pc.fill_null(array, empty) if array.null_count else array)
        elif pa.types.is_fixed_size_binary(kind):
            self._update_bytes(pc.fill_null(array.cast(pa.binary()), b""))
        elif pa.types.is_boolean(kind):
            self._values.update(pc.fill_null(array, False).to_numpy(zero_copy_only=False).astype(np.uint8).tobytes())
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
            values = (pc.fill_null(array, 0) if array.null_count else array).to_numpy(zero_copy_only=False)
            self._values.update(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes())
        elif not pa.types.is_null(kind):
            raise TypeError(f"columns of type {kind} have no content digest")

    def digest(self) -> bytes:
        total = hashlib.sha256(self._validity.digest() + self._lengths.digest() + self._values.digest())
        for child in self._children:
            total.update(child.digest())
        return total.digest()

    def _update_bytes(self, array: pa.Array) -> None:
        offsets = np.frombuffer(array.buffers()[1], dtype="<i4")[array.offset : array.offset + len(array) + 1]
        self._lengths.update(np.diff(offsets).astype("<i8").tobytes())
        data = array.buffers()[2]
        if data is not None and len(array):
            self._values.update(memoryview(data)[offsets[0] : offsets[-1]])


def _type_name(kind: pa.DataType) -> str:
    """The type name without the field names of list elements, which Parquet changes from ``item`` to ``element``."""
    if _is_list(kind):
        return f"list<{_type_name(kind.value_type)}>"
    if pa.types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        return f"struct<{', '.join(f'{field.name}: {_type_name(field.type)}' for field in fields)}>"
    return str(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
