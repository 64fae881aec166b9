"""What becomes of every document of a build: its source's verdict, a repeated id, or a duplicate that stays instead.

All sources are seen together, in partitions by cluster, and no text is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.stage import StageConfig, partitioned
from tasks.corpus.components import hash_name
from tasks.corpus.duplicates import DuplicatesStep, clusters_of, joins_clusters
from tasks.corpus.groups import GROUPS
from tasks.corpus.rules import KEPT
from tasks.corpus.survivors import Choice, Members, choose_first, choose_survivors

DUPLICATE_ID = "documents:failed:duplicate_id"
NEAR_DUPLICATE = "near_duplicate"
OUTCOME_SCHEMA = pa.schema(
    [
        ("outcome", pa.string()),
        ("cluster", pa.string()),
        ("compared", pa.string()),
        ("match", pa.string()),
        ("similarity", pa.float64()),
        ("words", pa.int64()),
        ("lost", pa.int64()),
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
    return list(dict.fromkeys(["id", "date", "source", "ids.copy", "rules.outcome", "rules.length", *own]))


def _columns_of_annotate(config: OutcomesConfig) -> list[str]:
    if joins_clusters(config.duplicates):
        clusters = [f"{GROUPS}.cluster"]
    else:
        clusters = [f"{step.step}.cluster" for step in config.duplicates]
    return list(dict.fromkeys(["source", "ids.copy", "rules.outcome", *clusters]))


def read_members(documents: pa.Table, config: OutcomesConfig) -> pa.Table:
    """What is needed of each document that passes all rules and is in a cluster, to choose among duplicates.

    Documents of an earlier build have no verdict of rules: they stay, and come before all others.
    """
    known = "rules.outcome" not in documents.column_names
    columns: dict[str, Any] = {
        "row": pa.array(np.arange(documents.num_rows, dtype=np.int32)),
        "turn": pa.array(np.zeros(documents.num_rows, np.int16)),
        **{name: documents[name] for name in ("id", "source", "date")},
        "known": pa.array(np.full(documents.num_rows, known, np.int8)),
        "length": pa.nulls(documents.num_rows, pa.int64()) if known else documents["rules.length"],
        **{field.name: pa.nulls(documents.num_rows, field.type) for field in _EVIDENCE},
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
    rows = pa.table(columns).filter(pc.and_(stays, some))
    return rows.append_column("partition", pa.array(_partitions(rows, 0)))


def choose(tables: Iterable[tuple[int, pa.Table]], config: OutcomesConfig) -> pa.Table:
    """Choose among the members of the clusters of one step, its turn; those that are out travel on.

    The last step returns the columns shard, row, and ``OUTCOME_SCHEMA`` without ``cluster``, for the documents that are
    in a cluster.
    """
    read = [_placed(number, table) for number, table in tables if table.num_rows]
    if not read:
        # Whose turn it is, is not known: the engine takes the column that it needs.
        return pa.schema([("partition", pa.uint64()), *_FOUND]).empty_table()
    table = pa.concat_tables(read).combine_chunks().sort_by("place")
    turn = int(table["turn"][0].as_py())
    step = config.choosing[turn]
    # Sources are numbered in the order of the recipe, which is that of the documents.
    order = pc.cast(pc.dictionary_encode(table["source"].combine_chunks()).indices, pa.int32())
    preference = [_ORDERS[name] for name in step.survivors if name != "all"]
    table = (
        table.append_column("order", order)
        .sort_by([("known", "descending"), *preference, ("place", "ascending")])
        .drop_columns(["order"])
    )
    rivals = pc.and_(pc.is_null(table["outcome"]), pc.is_valid(table[f"cluster_{turn}"]))
    table = _decided(table, np.flatnonzero(rivals.to_numpy()), turn, step)
    if turn + 1 == len(config.choosing):
        return _finished(table)
    table = table.set_column(
        table.schema.get_field_index("turn"), "turn", pc.add(table["turn"], pa.scalar(1, pa.int16()))
    )
    return table.append_column("partition", pa.array(_partitions(table, turn + 1)))


def annotate_outcomes(documents: pa.Table, rows: pa.Table, config: OutcomesConfig) -> pa.Table:
    """The outcome of every document of a shard.

    All are null for a document of an earlier build.

    - ``outcome`` (string): "" for a document that stays, else ``step:dropped:reason`` or ``step:failed:reason``. The
      first document of an id keeps it, and the others fail. Of the members of a cluster that pass all rules, a
      near-duplicate of one that stays is ``step:dropped:near_duplicate``;
    - ``cluster`` (string): the same for documents that any step puts together, null for others;
    - ``compared``, ``match`` (string), ``similarity`` (float64): the last step that compared it with another document,
      the id of that one, and how similar the two are. For a document that went, that one is the reason. For one that
      stays, it is the most similar one;
    - ``words``, ``lost`` (int64): of a document that went, its words and its distinct 3-grams that do not stand in its
      match. Null where the step does not compare texts.
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
    if joins_clusters(config.duplicates):
        cluster = documents[f"{GROUPS}.cluster"]
    else:
        cluster = pa.nulls(documents.num_rows, pa.string())
        for step in config.duplicates:
            cluster = pc.coalesce(cluster, clusters_of(documents, step))
    return pa.table(
        [pa.array(outcome, pa.string()), cluster, *(found[name] for name in OUTCOME_SCHEMA.names[2:])],
        schema=OUTCOME_SCHEMA,
    )


outcomes = partitioned(
    "outcomes",
    version=3,
    config=OutcomesConfig,
    reference="tasks.corpus.outcomes:outcomes",
    schema=OUTCOME_SCHEMA,
    columns={"map": _columns_of_map, "annotate": _columns_of_annotate},
    map=read_members,
    reduce={"choose": choose},
    order=lambda config: ("choose",) * max(len(config.choosing), 1),
    annotate=annotate_outcomes,
    # The words and signatures of candidates are in memory: some 6 KB for a document of 350 words.
    documents_per_partition=1 << 16,
)


def _partitions(rows: pa.Table, turn: int) -> np.ndarray:
    """Members of one cluster meet; a document that is out, or in no cluster of the step, goes anywhere."""
    if f"cluster_{turn}" not in rows.column_names:
        return np.empty(0, np.uint64)
    clusters = rows[f"cluster_{turn}"].to_pylist()
    return np.array([hash_name(name or id) for name, id in zip(clusters, rows["id"].to_pylist())], np.uint64)


def _placed(number: int, table: pa.Table) -> pa.Table:
    if "row" not in table.column_names:
        return table
    place = pa.array(table["row"].to_numpy().astype(np.int64) + (number << 32))
    return table.drop_columns(["row"]).append_column("place", place)


def _decided(table: pa.Table, rivals: np.ndarray, turn: int, step: DuplicatesStep) -> pa.Table:
    """The table after the choice among the rows `rivals`, which are in the order of preference."""
    members = table.take(pa.array(rivals))
    choice = _choice(members, turn, step)
    ids = members["id"].combine_chunks()
    matched = choice.match >= 0
    new = {
        "outcome": _where(choice.goes, pa.scalar(f"{step.step}:dropped:{NEAR_DUPLICATE}")),
        "compared": _where(matched, pa.scalar(step.step)),
        "match": ids.take(pa.array(choice.match, mask=~matched)),
        "similarity": pa.array(np.round(choice.similarity, 6), mask=np.isnan(choice.similarity)),
        "words": pa.array(choice.words, mask=~choice.goes | (choice.words < 0)),
        "lost": pa.array(choice.lost, mask=~choice.goes | (choice.words < 0)),
    }
    index = np.full(table.num_rows, -1, np.int64)
    index[rivals] = np.arange(len(rivals))
    at = pa.array(index, mask=index < 0)
    for name, values in new.items():
        column = pc.coalesce(values.cast(table[name].type).take(at), table[name].combine_chunks())
        table = table.set_column(table.schema.get_field_index(name), name, column)
    # The step's own evidence is needed no more, and what is out is not compared again.
    table = table.select([name for name in table.column_names if not name.endswith(f"_{turn}")])
    gone = table["outcome"].combine_chunks().is_valid()
    for name in table.column_names:
        if name[-1].isdigit():
            kept = pc.if_else(gone, None, table[name].combine_chunks())
            table = table.set_column(table.schema.get_field_index(name), name, kept)
    return table


def _where(mask: np.ndarray, value: pa.Scalar) -> pa.Array:
    return pc.if_else(pa.array(mask), value, pa.scalar(None, pa.string()))


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


def _finished(table: pa.Table) -> pa.Table:
    """The rows by shard, in order."""
    place = table["place"].to_numpy()
    order = pa.array(np.argsort(place))
    found = table.select(_EVIDENCE.names).take(order)
    place = np.sort(place)
    shard = pa.array((place >> 32).astype(np.int32))
    return found.add_column(0, "shard", shard).add_column(1, "row", pa.array((place & 0xFFFFFFFF).astype(np.int32)))
