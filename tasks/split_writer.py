"""Writes the documents of one split of a group of shards: token files and lineage."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from infra.store.tokens import TokenWriter
from tasks.lineage import LINEAGE_SCHEMA, LINEAGE_SUFFIX

_ROWS = 10_000  # of a row group of the lineage, and so the documents in memory


class SplitWriter:
    """A context manager. After it, `files` maps the ends of the files' names to them."""

    def __init__(self, folder: Path, split: str, vocabulary: int) -> None:
        self.files = {f"{split}{end}": folder / f"tokens{split}{end}" for end in (".bin", ".idx", LINEAGE_SUFFIX)}
        bin_path, idx_path, lineage = self.files.values()
        self._tokens = TokenWriter(bin_path, idx_path, vocabulary)
        self._lineage = pq.ParquetWriter(lineage, LINEAGE_SCHEMA)
        self._rows: list[tuple[int, str, str | None, int, int]] = []

    def append(self, identity: str, url: str | None, ids: NDArray[Any]) -> None:
        """Append a document, with the token that ends it."""
        self._rows.append((self._tokens.documents, identity, url, self._tokens.tokens, ids.size))
        self._tokens.append(ids)
        if len(self._rows) == _ROWS:
            self._flush()

    def _flush(self) -> None:
        columns = [list(column) for column in zip(*self._rows, strict=True)]
        if columns:
            self._lineage.write_table(pa.table(columns, schema=LINEAGE_SCHEMA))
        self._rows.clear()

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._lineage.close()
        self._tokens.__exit__(kind, error, trace)
