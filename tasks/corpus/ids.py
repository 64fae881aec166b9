"""Which documents repeat an id: settled before anything compares documents, so that a copy costs only itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pydantic

from infra.stage import StageConfig, partitioned

IDS = "ids"
IDS_SCHEMA = pa.schema([("copy", pa.int64())])


class IdsConfig(StageConfig):
    """Ids are compared across all documents, so one partition sees all of them."""

    partitions: Literal[1] = pydantic.Field(1)


def read_ids(documents: pa.Table, config: IdsConfig) -> pa.Table:
    """The id of each document."""
    rows = documents.num_rows
    numbers = {"partition": np.zeros(rows, np.int32), "row": np.arange(rows, dtype=np.int32)}
    return pa.table({**{name: pa.array(values) for name, values in numbers.items()}, "id": documents["id"]})


def find_copies(tables: Iterable[tuple[int, pa.Table]], config: IdsConfig) -> pa.Table:
    """The documents with the id of an earlier one: columns shard, row, and copy, the number of those before it."""
    read = [table.append_column("shard", pa.array(np.full(table.num_rows, shard, np.int32))) for shard, table in tables]
    schema = pa.schema([("shard", pa.int32()), ("row", pa.int32()), ("copy", pa.int64())])
    if not read:
        return schema.empty_table()
    table = pa.concat_tables(read)
    codes = pc.dictionary_encode(table["id"].combine_chunks()).indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    places = np.arange(len(order))
    starts = np.r_[True, codes[order][1:] != codes[order][:-1]] if len(order) else np.empty(0, bool)
    copies = np.empty(len(order), np.int64)
    copies[order] = places - np.maximum.accumulate(np.where(starts, places, 0))
    table = table.append_column("copy", pa.array(copies))
    return table.filter(pc.greater(table["copy"], 0)).select(schema.names).cast(schema)


def annotate_copies(documents: pa.Table, rows: pa.Table, config: IdsConfig) -> pa.Table:
    """``copy``: how many documents before this one, in the order of sources and shards, have its id."""
    copies = np.zeros(documents.num_rows, np.int64)
    copies[rows["row"].to_numpy()] = rows["copy"].to_numpy()
    return pa.table([pa.array(copies)], schema=IDS_SCHEMA)


ids = partitioned(
    IDS,
    version=1,
    config=IdsConfig,
    reference="tasks.corpus.ids:ids",
    schema=IDS_SCHEMA,
    columns={"map": ["id"], "annotate": ["id"]},
    map=read_ids,
    reduce=find_copies,
    annotate=annotate_copies,
)
