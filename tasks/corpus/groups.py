"""Which clusters of several steps share a document, and so are one: what a validation split must not tear apart."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from infra.stage import StageConfig, partitioned
from infra.tables import places_of, stack_rows
from tasks.corpus.components import hash_name, link_rows, place_members, shorten
from tasks.corpus.duplicates import DuplicatesStep, clusters_of

GROUPS = "groups"
GROUPS_SCHEMA = pa.schema([("cluster", pa.string())])


class GroupsConfig(StageConfig):
    """`duplicates`: the steps whose clusters are joined."""

    duplicates: tuple[DuplicatesStep, ...]


def _columns(config: GroupsConfig) -> list[str]:
    return list(dict.fromkeys(["source", *(f"{step.step}.cluster" for step in config.duplicates)]))


def read_clusters(documents: pa.Table, config: GroupsConfig) -> pa.Table:
    """Columns partition, node, other (uint64) and row (int32): a document's first cluster, and its others."""
    first: dict[int, int] = {}
    rows: list[tuple[int, int, int]] = []
    for number, step in enumerate(config.duplicates):
        for row, cluster in enumerate(clusters_of(documents, step).to_pylist()):
            if cluster is not None:
                node = hash_name(f"{number}\n{cluster}")
                rows.append((first.setdefault(row, node), node, row))
    nodes, others = (np.array([row[end] for row in rows], np.uint64) for end in (0, 1))
    places = pa.array(np.array([row[2] for row in rows], np.int32))
    return pa.table({"partition": nodes, "node": nodes, "other": others, "row": places})


def join(tables: Iterable[tuple[int, pa.Table]], config: GroupsConfig) -> pa.Table:
    """The rows of `tasks.corpus.components`, whose documents here are clusters."""
    rows = stack_rows(tables, node=np.uint64, other=np.uint64, row=np.int32)
    return link_rows(rows["other"], rows["node"], rows["node"], places_of(rows))


def annotate_groups(documents: pa.Table, rows: pa.Table, config: GroupsConfig) -> pa.Table:
    """``cluster`` (string): the same for documents that any of the steps puts together, null for others."""
    names = np.full(documents.num_rows, None, object)
    for row, cluster in zip(rows["row"].to_pylist(), rows["cluster"].to_pylist(), strict=True):
        names[row] = f"{cluster:016x}"
    return pa.table([pa.array(names, pa.string())], schema=GROUPS_SCHEMA)


groups = partitioned(
    GROUPS,
    version=1,
    config=GroupsConfig,
    reference="tasks.corpus.groups:groups",
    schema=GROUPS_SCHEMA,
    columns={"map": _columns, "annotate": ["id"]},
    map=read_clusters,
    reduce={"join": join, "shorten": shorten, "place": place_members},
    repeated=["shorten"],
    annotate=annotate_groups,
)
