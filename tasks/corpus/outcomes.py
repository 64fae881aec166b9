"""What becomes of every document of a build: its source's verdict, a repeated id, or a duplicate that stays instead.

All sources are seen together, and no text is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pydantic
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from infra.stage import StageConfig, partitioned
from tasks.corpus.rules import KEPT

DUPLICATE_ID = "documents:failed:duplicate_id"
NEAR_DUPLICATE = "near_duplicate"
OUTCOME_SCHEMA = pa.schema([("outcome", pa.string()), ("cluster", pa.string())])
Preference = Literal["longest", "shortest", "earliest", "latest", "first", "source"]
Survivors = Literal["longest", "shortest", "earliest", "latest", "first", "source", "all"]
_ORDERS: dict[Preference, tuple[str, str]] = {
    "longest": ("length", "descending"),
    "shortest": ("length", "ascending"),
    "earliest": ("date", "ascending"),
    "latest": ("date", "descending"),
    "first": ("place", "ascending"),
    "source": ("order", "ascending"),
}


class DuplicatesStep(StageConfig):
    """A step that groups duplicates into clusters. One member of a cluster stays: the first by `survivors`.

    With ``all``, every member stays. A step of one `source` groups only its documents, one across sources those of all.
    """

    step: str
    survivors: tuple[Survivors, ...]
    source: str | None = None


class OutcomesConfig(StageConfig):
    """`duplicates`: the steps that group duplicates, those of one source before those across."""

    duplicates: tuple[DuplicatesStep, ...] = ()
    # Clusters are compared across all documents, so one partition sees all of them.
    partitions: Literal[1] = pydantic.Field(1)


def _columns(config: OutcomesConfig) -> list[str]:
    clusters = [f"{item.step}.cluster" for item in config.duplicates]
    return list(dict.fromkeys(["date", "source", "ids.copy", "rules.outcome", "rules.length", *clusters]))


def read_verdicts(documents: pa.Table, config: OutcomesConfig) -> pa.Table:
    """What is needed of each document to choose among duplicates; ``clusters`` has one value for each step."""
    rows = documents.num_rows
    clusters = []
    for item in config.duplicates:
        name = f"{item.step}.cluster"
        found = documents[name].combine_chunks() if name in documents.column_names else pa.nulls(rows, pa.string())
        if item.source is not None:
            found = pc.if_else(pc.equal(documents["source"].combine_chunks(), item.source), found, None)
        clusters.append(found)
    return pa.table(
        {
            "partition": pa.array(np.zeros(rows, np.int32)),
            "row": pa.array(np.arange(rows, dtype=np.int32)),
            "outcome": documents["rules.outcome"],
            "copy": documents["ids.copy"],
            "source": documents["source"],
            "length": documents["rules.length"],
            "date": documents["date"],
            **{f"cluster_{number}": cluster for number, cluster in enumerate(clusters)},
        }
    )


def choose(tables: Iterable[tuple[int, pa.Table]], config: OutcomesConfig) -> pa.Table:
    """The outcome of every document, and its cluster: columns shard, row, outcome, cluster.

    The first document of an id keeps it, the others fail. Then, step by step, of the members of a cluster that still
    stay, the first in the order of `survivors` stays and the others are ``step:dropped:near_duplicate``. ``cluster``
    is the same for documents that any step puts together.
    """
    read = [table.append_column("shard", pa.array(np.full(table.num_rows, shard, np.int32))) for shard, table in tables]
    if not read:
        return pa.schema([("shard", pa.int32()), ("row", pa.int32()), *OUTCOME_SCHEMA]).empty_table()
    table = pa.concat_tables(read).combine_chunks()
    table = table.append_column("place", pa.array(np.arange(table.num_rows, dtype=np.int64)))
    table = table.append_column("order", _order_of_sources(table["source"]))
    outcomes = np.array(table["outcome"].to_pylist(), dtype=object)
    outcomes[table["copy"].to_numpy() > 0] = DUPLICATE_ID
    for number, item in enumerate(config.duplicates):
        if item.survivors != ("all",):
            outcomes[_losers(table, f"cluster_{number}", item, outcomes == KEPT)] = (
                f"{item.step}:dropped:{NEAR_DUPLICATE}"
            )
    cluster = _joined([table[f"cluster_{number}"] for number in range(len(config.duplicates))], table.num_rows)
    return pa.table(
        [table["shard"], table["row"], pa.array(outcomes, pa.string()), cluster],
        names=["shard", "row", "outcome", "cluster"],
    )


def annotate_outcomes(documents: pa.Table, rows: pa.Table, config: OutcomesConfig) -> pa.Table:
    """The rows of one shard in the order of its documents."""
    return rows.sort_by("row").select(OUTCOME_SCHEMA.names).cast(OUTCOME_SCHEMA)


outcomes = partitioned(
    "outcomes",
    version=2,
    config=OutcomesConfig,
    reference="tasks.corpus.outcomes:outcomes",
    schema=OUTCOME_SCHEMA,
    columns={"map": _columns, "annotate": ["id"]},
    map=read_verdicts,
    reduce=choose,
    annotate=annotate_outcomes,
)


def _order_of_sources(sources: pa.ChunkedArray) -> pa.Array:
    """The number of each document's source, in the order of the recipe, which is that of the documents."""
    encoded = pc.dictionary_encode(sources.combine_chunks())
    return pc.cast(encoded.indices, pa.int32())


def _losers(table: pa.Table, column: str, item: DuplicatesStep, stays: np.ndarray) -> np.ndarray:
    """The places of the members of clusters that do not stay."""
    rivals = table.filter(pc.and_(pa.array(stays), pc.is_valid(table[column])))
    if not rivals.num_rows:
        return np.empty(0, np.int64)
    preference = [_ORDERS[name] for name in item.survivors if name != "all"]
    ordered = rivals.sort_by([(column, "ascending"), *preference, ("place", "ascending")])
    cluster = ordered[column].to_numpy(zero_copy_only=False)
    losers: np.ndarray = ordered["place"].to_numpy()[np.r_[False, cluster[1:] == cluster[:-1]]]
    return losers


def _joined(clusters: list[pa.ChunkedArray], rows: int) -> pa.Array:
    """One cluster for each document: those that share a member become one, named by the least of their names."""
    if not clusters:
        return pa.nulls(rows, pa.string())
    if len(clusters) == 1:
        return clusters[0].combine_chunks()
    labels = [
        pc.binary_join_element_wise(str(number), column.combine_chunks(), "\n")
        for number, column in enumerate(clusters)
    ]
    names = pc.unique(pa.chunked_array(labels).drop_null())
    first = np.full(rows, -1, np.int64)
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for label in labels:
        node = pc.fill_null(pc.index_in(label, names), -1).to_numpy().astype(np.int64)
        both = (node >= 0) & (first >= 0)
        left.append(first[both])
        right.append(node[both])
        first = np.where(first < 0, node, first)
    ends = np.concatenate(left), np.concatenate(right)
    graph = coo_array((np.ones(len(ends[0])), ends), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    least: dict[int, str] = {}
    for name, label in zip(names.to_pylist(), component.tolist(), strict=True):
        plain = name.partition("\n")[2]
        least[label] = min(plain, least.get(label, plain))
    return pa.array([None if node < 0 else least[int(component[node])] for node in first.tolist()], pa.string())
