"""A partitioned stage over tables, its steps combined as the engine combines them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.stage import Stage, StageConfig


def run_partitioned(
    stage: Stage, shards: Sequence[pa.Table], config: StageConfig, partitions: int = 1
) -> list[pa.Table]:
    """The annotation of each shard. Each is a file of its own, where the config asks for groups of files."""
    size = config.model_dump().get("files_per_group") or max(len(shards), 1)
    found: list[pa.Table] = []
    for start in range(0, len(shards), size):
        found += _run_group(stage, shards[start : start + size], config, partitions)
    return found


def _run_group(stage: Stage, shards: Sequence[pa.Table], config: StageConfig, partitions: int) -> list[pa.Table]:
    given = [stage.steps["map"](_read(stage, shard, config, "map"), config) for shard in shards]
    order = list(stage.order(config))
    for number, step in enumerate(order):
        while True:
            before = given
            given = [
                stage.steps[step](
                    [
                        (origin, part)
                        for origin, rows in enumerate(before)
                        if (part := _slice(rows, partition, partitions)).num_rows
                    ],
                    config,
                )
                for partition in range(partitions)
            ]
            if step not in stage.repeated or [rows.to_pydict() for rows in given] == [r.to_pydict() for r in before]:
                break
        if number == len(order) - 1:
            assert all("shard" in rows.column_names for rows in given)
    annotated = []
    for number, shard in enumerate(shards):
        about = [rows.filter(pc.equal(rows["shard"], number)) for rows in given if rows.num_rows] or given[:1]
        rows = pa.concat_tables(about).drop_columns(["shard"])
        annotated.append(stage.steps["annotate"](_read(stage, shard, config, "annotate"), rows, config))
    return annotated


def _slice(rows: pa.Table, partition: int, partitions: int) -> pa.Table:
    inside = rows["partition"].to_numpy() % np.uint64(partitions) == partition
    return rows.filter(pa.array(inside)).drop_columns(["partition"])


def _read(stage: Stage, shard: pa.Table, config: StageConfig, step: str) -> pa.Table:
    """The columns that a step declares, those that are there: the engine leaves out the others."""
    wanted = {"id", *stage.columns_of(config, step)}
    return shard.select([name for name in shard.column_names if name in wanted])
