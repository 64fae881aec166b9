"""The rows that one unit of a partitioned stage hands on: one file, sorted by target, with a slice for each target.

Files from many units are merged into one, in bounded memory, whose slices then have the rows of all of them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import Part, store_part
from infra.tables import ContentDigest

# A slice shares its first and last group with its neighbours, so this is what a reader of a small one reads in vain.
_ROW_GROUP_ROWS = 1 << 13
ROWS_FORMAT = 2  # of the files; in the keys of the units that write them
_TARGETS, _ENDS = b"millrace.targets", b"millrace.ends"
_MERGED_ROWS = 1 << 20  # of a merge at once, if no target has more
GIVEN_BY = "given_by"  # the column of merged rows with the number of the unit that gave them

Slices = dict[str, str]  # target → content digest of its rows


def store_rows(
    lake: Lake, path: Path, rows: pa.Table, targets: np.ndarray, name: str, digests: bool = True
) -> tuple[Part, Slices]:
    """Store rows as one part, sorted by target; `targets` (integers, shape (rows,)) holds the target of each row.

    Rows of one target keep their order. `path` is a temporary file. Returns the part and the digest of each slice,
    which does not depend on the other slices; none without `digests`.
    """
    order = np.argsort(targets, kind="stable")
    return _store(lake, path, rows.schema, [(rows.take(pa.array(order)), targets[order])], name, digests)


def merge_rows(
    lake: Lake, path: Path, given: Sequence[tuple[int, Path]], name: str, digests: bool
) -> tuple[Part, Slices]:
    """Merge files of `store_rows` into one: (number of the unit that gave it, file) pairs, in order. See there.

    Reads the rows of a range of targets at a time, from all files.
    """
    files = [(number, _Sliced(file)) for number, file in given]
    schema = files[0][1].schema
    if GIVEN_BY not in schema.names:
        schema = schema.append(pa.field(GIVEN_BY, pa.int32()))

    def chunks() -> Iterator[tuple[pa.Table, np.ndarray]]:
        for first, end in _ranges([file for _, file in files]):
            found = [(number, file.table(first, end), file.targets_of_rows(first, end)) for number, file in files]
            tables = [
                table
                if GIVEN_BY in table.column_names
                else table.append_column(schema.field(GIVEN_BY), pa.array(np.full(table.num_rows, number, np.int32)))
                for number, table, _ in found
            ]
            targets = np.concatenate([targets for _, _, targets in found])
            order = np.argsort(targets, kind="stable")
            yield pa.concat_tables(tables).take(pa.array(order)), targets[order]

    return _store(lake, path, schema, chunks(), name, digests)


def read_slice(path: Path, target: int) -> pa.Table:
    """The rows of a file for one target; no rows if it has none. Reads little else. Raises Corrupt."""
    return _Sliced(path).table(target, target + 1)


def by_giver(number: int, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """The rows of a slice, with the number of the unit that gave them; of a merged slice, for each such unit."""
    if GIVEN_BY not in rows.column_names:
        yield number, rows
        return
    numbers = rows[GIVEN_BY].to_numpy()
    rows = rows.drop_columns([GIVEN_BY])
    for start, end in _runs(numbers):
        yield int(numbers[start]), rows.slice(start, end - start)


def _store(
    lake: Lake, path: Path, schema: pa.Schema, chunks: Iterable[tuple[pa.Table, np.ndarray]], name: str, digests: bool
) -> tuple[Part, Slices]:
    """Store tables with the targets of their rows, sorted: a target is in one of the tables."""
    slices: Slices = {}
    whole = ContentDigest(schema)
    targets: list[int] = []
    ends: list[int] = []
    with pq.ParquetWriter(
        path, schema, compression="zstd", version="2.6", use_dictionary=False, write_page_checksum=True
    ) as writer:
        for rows, of_rows in chunks:
            for start, end in _runs(of_rows):
                targets.append(int(of_rows[start]))
                ends.append(whole.rows + end)
                if digests:
                    digest = ContentDigest(schema)
                    digest.update(rows.slice(start, end - start))
                    slices[str(targets[-1])] = digest.hexdigest()
            whole.update(rows)
            writer.write_table(rows, row_group_size=_ROW_GROUP_ROWS)
        writer.add_key_value_metadata({_TARGETS: _written(targets), _ENDS: _written(ends)})
    part = store_part(lake, path, name=name, rows=whole.rows, content=whole.hexdigest(), suffix=".parquet")
    path.unlink()
    return part, slices


class _Sliced:
    """A file of `store_rows`. Raises Corrupt."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path, page_checksum_verification=True)
        metadata = self._file.metadata
        self.schema = self._file.schema_arrow.remove_metadata()
        try:
            self.targets = np.frombuffer(base64.b64decode(metadata.metadata[_TARGETS], validate=True), "<i8")
            self.ends = np.frombuffer(base64.b64decode(metadata.metadata[_ENDS], validate=True), "<i8")
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise Corrupt(f"{path} does not say where its slices are; delete it, then build again") from error
        steps = (np.diff(self.targets, prepend=self.targets[:1] - 1), np.diff(self.ends, prepend=0))
        rows = int(self.ends[-1]) if len(self.ends) else 0
        if len(self.targets) != len(self.ends) or rows != metadata.num_rows or any((step < 1).any() for step in steps):
            raise Corrupt(f"{path}: its slices are not in order or outside the file; delete it, then build again")
        sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        self._group_ends = np.cumsum(sizes, dtype=np.int64)

    def table(self, first: int, end: int) -> pa.Table:
        """The rows for the targets from `first` to `end`, exclusive."""
        start, stop = self._rows(first, end)
        if start == stop:
            return self.schema.empty_table()
        groups = range(
            int(np.searchsorted(self._group_ends, start, "right")),
            int(np.searchsorted(self._group_ends, stop, "left")) + 1,
        )
        before = int(self._group_ends[groups.start - 1]) if groups.start else 0
        rows = self._file.read_row_groups(list(groups)).slice(start - before, stop - start)
        return rows.replace_schema_metadata(None)

    def targets_of_rows(self, first: int, end: int) -> np.ndarray:
        """The target of each of these rows."""
        chosen = (self.targets >= first) & (self.targets < end)
        return np.repeat(self.targets[chosen], np.diff(self.ends, prepend=0)[chosen])

    def _rows(self, first: int, end: int) -> tuple[int, int]:
        places = np.searchsorted(self.targets, [first, end])
        start, stop = (int(self.ends[place - 1]) if place else 0 for place in places)
        return start, stop


def _ranges(files: Sequence[_Sliced]) -> Iterator[tuple[int, int]]:
    """Ranges of targets, each with about as many rows in all files as fit the memory of a merge."""
    targets = np.concatenate([file.targets for file in files])
    rows = np.concatenate([np.diff(file.ends, prepend=0) for file in files])
    different, places = np.unique(targets, return_inverse=True)
    ends = np.cumsum(np.bincount(places, rows, len(different)).astype(np.int64))
    start = 0
    while start < len(different):
        before = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, before + _MERGED_ROWS, "right")), start + 1)
        yield int(different[start]), int(different[stop - 1]) + 1
        start = stop


def _runs(values: np.ndarray) -> Iterator[tuple[int, int]]:
    """Where each run of equal values starts and ends."""
    if len(values):
        changes = np.flatnonzero(values[1:] != values[:-1]) + 1
        yield from zip([0, *changes.tolist()], [*changes.tolist(), len(values)], strict=True)


def _written(numbers: Sequence[int]) -> bytes:
    return base64.b64encode(np.array(numbers, "<i8").tobytes())
