"""The rows that one unit of a partitioned stage hands on: one file, with a slice for each target."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import Part, store_part
from infra.tables import ContentDigest

_ROW_GROUP_ROWS = 1 << 16
_SLICES = b"millrace.slices"

Slices = dict[str, str]  # target → content digest of its rows


def store_rows(lake: Lake, path: Path, rows: pa.Table, targets: np.ndarray, name: str) -> tuple[Part, Slices]:
    """Store rows as one part, sorted by target; `targets` (integers, shape (rows,)) holds the target of each row.

    Rows of one target keep their order. `path` is a temporary file. Returns the part and the digest of each slice,
    which does not depend on the other slices.
    """
    order = np.argsort(targets, kind="stable")
    rows, targets = rows.take(pa.array(order)), targets[order]
    starts = np.flatnonzero(np.r_[True, targets[1:] != targets[:-1]]) if len(targets) else np.empty(0, np.int64)
    ends = np.r_[starts, len(targets)][1:]
    slices: Slices = {}
    whole = ContentDigest(rows.schema)
    places: dict[str, tuple[int, int]] = {}
    groups = 0
    with pq.ParquetWriter(
        path, rows.schema, compression="zstd", version="2.6", use_dictionary=False, write_page_checksum=True
    ) as writer:
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            cut = rows.slice(start, end - start)
            digest = ContentDigest(rows.schema)
            digest.update(cut)
            whole.update(cut)
            writer.write_table(cut, row_group_size=_ROW_GROUP_ROWS)
            count = -(-cut.num_rows // _ROW_GROUP_ROWS)
            slices[str(targets[start])] = digest.hexdigest()
            places[str(targets[start])] = (groups, groups + count)
            groups += count
        writer.add_key_value_metadata({_SLICES: json.dumps(places)})
    part = store_part(lake, path, name=name, rows=rows.num_rows, content=whole.hexdigest(), suffix=".parquet")
    path.unlink()
    return part, slices


def read_slice(path: Path, target: int) -> pa.Table:
    """The rows of a file for one target; no rows if it has none. Reads only them. Raises Corrupt."""
    file = pq.ParquetFile(path, page_checksum_verification=True)
    places = _places(file, path)
    if str(target) not in places:
        return file.schema_arrow.remove_metadata().empty_table()
    first, end = places[str(target)]
    if not 0 <= first <= end <= file.num_row_groups:
        raise Corrupt(f"{path}: its slice {target} is outside the file; delete it, then build again")
    return file.read_row_groups(list(range(first, end))).replace_schema_metadata(None)


def _places(file: pq.ParquetFile, path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.metadata.metadata[_SLICES])
        return {str(int(target)): (int(first), int(end)) for target, (first, end) in found.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Corrupt(f"{path} does not say where its slices are; delete it, then build again") from error
