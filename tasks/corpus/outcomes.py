"""What becomes of every document of a build: its source's verdict, a repeated id, or a duplicate that stays instead.

All sources are seen together, in partitions by cluster, and no text is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.stage import StageConfig, partitioned
from tasks.corpus.components import hash_name
from tasks.corpus.duplicates import DuplicatesStep, clusters_of, joins_clusters
from tasks.corpus.fates import Fates
from tasks.corpus.groups import GROUPS
from tasks.corpus.rules import KEPT
from tasks.corpus.survivors import Choice, Members, choose_first, choose_survivors
from tasks.text.dates import instants, is_there

DUPLICATE_ID = "documents:failed:duplicate_id"
OUTCOME_SCHEMA = pa.schema(
    [
        ("outcome", pa.string()),
        ("cluster", pa.string()),
        ("compared", pa.string()),
        ("match", pa.string()),
        ("match_known", pa.bool_()),
        ("similarity", pa.float64()),
        ("words", pa.int64()),
        ("lost", pa.int64()),
        ("undated", pa.string()),
    ]
)
_ORDERS: dict[str, tuple[str, str]] = {
    "longest": ("length", "descending"),
    "shortest": ("length", "ascending"),
    "earliest": ("date", "ascending"),
    "latest": ("date", "descending"),
    "first": ("place", "ascending"),
    "source": ("order", "ascending"),
}
_EVIDENCE = pa.schema([("outcome", pa.string()), *(OUTCOME_SCHEMA.field(name) for name in OUTCOME_SCHEMA.names[2:])])

_FOUND = pa.schema([("shard", pa.int32()), ("row", pa.int32()), *_EVIDENCE])


class OutcomesConfig(StageConfig):
    """`duplicates`: the steps that group duplicates, those of one source before those across."""

    duplicates: tuple[DuplicatesStep, ...] = ()

    @property
    def choosing(self) -> tuple[DuplicatesStep, ...]:
        """The steps that let documents go."""
        return tuple(step for step in self.duplicates if step.survivors != ("all",))


def _columns_of_map(config: OutcomesConfig) -> list[str]:
    own = [f"{step.step}.{column}" for step in config.choosing for column in step.columns]
    joined = [f"{GROUPS}.cluster"] if joins_clusters(config.duplicates) else []
    return list(dict.fromkeys(["id", "date", "source", "ids.copy", "rules.outcome", "rules.length", *joined, *own]))


def _columns_of_annotate(config: OutcomesConfig) -> list[str]:
    return list(dict.fromkeys(["source", "ids.copy", "rules.outcome", *_group_columns(config)]))


def read_members(documents: pa.Table, config: OutcomesConfig) -> pa.Table:
    """What is needed of each document that passes all rules and is in a cluster, to choose among duplicates.

    ``date`` is an instant, null for a document without a date and for one whose date cannot be read; ``dated`` tells
    them apart.
    Documents of an earlier build have no verdict of rules: they stay, and come before all others.
    """
    known = "rules.outcome" not in documents.column_names
    group = _groups(documents, config)
    columns: dict[str, Any] = {
        "row": pa.array(np.arange(documents.num_rows, dtype=np.int32)),
        **{name: documents[name] for name in ("id", "source")},
        "known": pa.array(np.full(documents.num_rows, known, np.int8)),
        "length": pa.nulls(documents.num_rows, pa.int64()) if known else documents["rules.length"],
    }
    some = pa.array(np.zeros(documents.num_rows, bool))
    stays = pa.array(np.ones(documents.num_rows, bool))
    if not known:
        stays = pc.and_(pc.equal(documents["rules.outcome"], KEPT), pc.equal(documents["ids.copy"], 0))
    for number, step in enumerate(config.choosing):
        cluster = clusters_of(documents, step)
        some = pc.or_(some, pc.is_valid(cluster))
        columns[f"cluster_{number}"] = cluster
        for column, kind in step.evidence.items():
            name = f"{step.step}.{column}"
            there = name in documents.column_names
            columns[f"{column}_{number}"] = documents[name] if there else pa.nulls(documents.num_rows, kind)
    chosen = pc.and_(stays, some)
    names = pc.filter(group, chosen).to_pylist()
    partition = np.array([hash_name(name) for name in names], np.uint64)
    dates = documents["date"].filter(chosen).to_pylist()
    return (
        pa.table(columns)
        .filter(chosen)
        .append_column("date", pa.array(instants(dates), pa.int64()))
        .append_column("dated", pa.array([is_there(date) for date in dates], pa.bool_()))
        .append_column("partition", pa.array(partition))
    )


def choose(tables: Iterable[tuple[int, pa.Table]], config: OutcomesConfig) -> pa.Table:
    """Choose among the members of clusters, step by step; all clusters that share a document are in one partition.

    Returns the columns shard, row, and ``OUTCOME_SCHEMA`` without ``cluster``, for the documents that are in a cluster.
    """
    read = [_placed(number, table) for number, table in tables if table.num_rows]
    if not read:
        return _FOUND.empty_table()
    table = pa.concat_tables(read).combine_chunks().sort_by("place")
    # Sources are numbered in the order of the recipe, which is that of the documents.
    order = pc.cast(pc.dictionary_encode(table["source"].combine_chunks()).indices, pa.int32())
    table = table.append_column("order", order)
    fates = Fates(table.num_rows)
    unread = (table["date"].is_null().to_numpy()) & table["dated"].to_numpy()
    undated = np.full(table.num_rows, -1, np.int64)
    for number, step in enumerate(config.choosing):
        preference = [_ORDERS[name] for name in step.survivors if name != "all"]
        keys = [("known", "descending"), *preference, ("place", "ascending")]
        ordered = pc.sort_indices(table, sort_keys=keys).to_numpy()
        members = table[f"cluster_{number}"].is_valid().to_numpy()
        if any(column == "date" for column, _ in preference):
            undated[members & unread] = number
        rivals = ordered[members[ordered] & fates.stays[ordered]]
        fates.decide(number, rivals, _choice(table.take(pa.array(rivals)), number, step), step.compare is None)
    fates.give_back()
    return _rows(table, fates, undated, config.choosing)


def annotate_outcomes(documents: pa.Table, rows: pa.Table, config: OutcomesConfig) -> pa.Table:
    """The outcome of every document of a shard.

    All are null for a document of an earlier build.

    - ``outcome`` (string): "" for a document that stays, else ``step:dropped:reason`` or ``step:failed:reason``. The
      first document of an id keeps it, and the others fail. Of the members of a cluster that pass all rules, a
      duplicate of one that stays goes under the reason of its step, such as ``near_duplicate``;
    - ``cluster`` (string): the same for documents that any step puts together, null for others;
    - ``compared``, ``match`` (string), ``similarity`` (float64): the last step that compared it with another document,
      the id of that one, and how similar the two are. For a document that went, that one is the reason, and it stays;
      for one that stays, it is the most similar one. An exact copy of a document that went for another names that one;
    - ``match_known`` (bool): whether the match is a document of an earlier build;
    - ``words``, ``lost`` (int64): of a document that went, its words and its distinct 3-grams that do not stand in its
      match. Null where the step does not compare texts;
    - ``undated`` (string): the last step that chose by date and could not read that of the document. It was without a
      date there, and so came last.
    """
    if "rules.outcome" not in documents.column_names:
        nothing = [pa.nulls(documents.num_rows, field.type) for field in OUTCOME_SCHEMA]
        return pa.table(nothing, schema=OUTCOME_SCHEMA)
    outcome = np.array(documents["rules.outcome"].to_pylist(), object)
    outcome[documents["ids.copy"].to_numpy() > 0] = DUPLICATE_ID
    at = rows["row"].to_numpy()
    decided = np.array(rows["outcome"].to_pylist(), object)
    outcome[at[decided != None]] = decided[decided != None]  # noqa: E711 - elementwise
    index = np.full(documents.num_rows, -1, np.int64)
    index[at] = np.arange(len(at))
    found = rows.take(pa.array(index, mask=index < 0))
    cluster = _groups(documents, config)
    return pa.table(
        [pa.array(outcome, pa.string()), cluster, *(found[name] for name in OUTCOME_SCHEMA.names[2:])],
        schema=OUTCOME_SCHEMA,
    )


outcomes = partitioned(
    "outcomes",
    version=5,
    config=OutcomesConfig,
    reference="tasks.corpus.outcomes:outcomes",
    schema=OUTCOME_SCHEMA,
    columns={"map": _columns_of_map, "annotate": _columns_of_annotate},
    map=read_members,
    reduce={"choose": choose},
    annotate=annotate_outcomes,
    # The words and signatures of candidates are in memory: some 6 KB for a document of 350 words.
    documents_per_partition=1 << 16,
)


def _group_columns(config: OutcomesConfig) -> list[str]:
    if joins_clusters(config.duplicates):
        return [f"{GROUPS}.cluster"]
    return list(dict.fromkeys(f"{step.step}.cluster" for step in config.duplicates))


def _groups(documents: pa.Table, config: OutcomesConfig) -> pa.Array:
    """The cluster of each document, or the clusters that share documents as one; null for a document in none."""
    if f"{GROUPS}.cluster" in documents.column_names:
        return documents[f"{GROUPS}.cluster"].combine_chunks()
    found = pa.nulls(documents.num_rows, pa.string())
    for step in config.duplicates:
        found = pc.coalesce(found, clusters_of(documents, step))
    return found


def _placed(number: int, table: pa.Table) -> pa.Table:
    place = pa.array(table["row"].to_numpy().astype(np.int64) + (number << 32))
    return table.drop_columns(["row"]).append_column("place", place)


def _choice(members: pa.Table, turn: int, step: DuplicatesStep) -> Choice:
    if step.compare is None or not members.num_rows:
        return choose_first(members[f"cluster_{turn}"].to_pylist())
    words = members[f"words_{turn}"].combine_chunks()
    signed = members[f"signature_{turn}"].combine_chunks()
    width = len(signed[0].as_py() or b"") // 4 if len(signed) else 0
    packed = b"".join(signature or b"" for signature in signed.to_pylist())
    return choose_survivors(
        Members(
            words.flatten().to_numpy(),
            np.r_[0, np.cumsum(pc.list_value_length(words).to_numpy(zero_copy_only=False))].astype(np.int64),
            np.frombuffer(packed, "<u4").reshape(len(signed), width),
            members["place"].to_numpy(),
            int(pc.sum(members["known"]).as_py()),
        ),
        step.compare,
    )


def _rows(table: pa.Table, fates: Fates, undated: np.ndarray, steps: Sequence[DuplicatesStep]) -> pa.Table:
    """What became of each document, by shard and in order; `table` is sorted by place. `undated`: steps, or -1."""
    place = table["place"].to_numpy()
    compared = fates.match >= 0
    at = pa.array(fates.match, mask=~compared)
    known = pa.array(table["known"].to_numpy()[np.where(compared, fates.match, 0)] == 1, mask=~compared)
    counted = ~fates.stays & (fates.words >= 0)
    out = [f"{step.step}:dropped:{step.reason}" for step in steps]
    names = [step.step for step in steps]
    return pa.table(
        {
            "shard": pa.array((place >> 32).astype(np.int32)),
            "row": pa.array((place & 0xFFFFFFFF).astype(np.int32)),
            "outcome": pa.array(out, pa.string()).take(pa.array(fates.step, mask=fates.stays)),
            "compared": pa.array(names, pa.string()).take(pa.array(fates.step, mask=~compared)),
            "match": table["id"].combine_chunks().take(at),
            "match_known": known,
            "similarity": pa.array(np.round(fates.similarity, 6), mask=np.isnan(fates.similarity)),
            "words": pa.array(fates.words, mask=~counted),
            "lost": pa.array(fates.lost, mask=~counted),
            "undated": pa.array(names, pa.string()).take(pa.array(undated, mask=undated < 0)),
        },
        schema=_FOUND,
    )
