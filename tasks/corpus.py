"""The corpus: the recipe's rules applied to what every other stage found out, and the survivors written once.

Every document that is out is out under one reason: the first rule that it fails, in the recipe's order. Of the
members of a near-duplicate cluster that fail no rule, the first in the order of `survivors` stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pydantic

from infra.documents import DOCUMENT_SCHEMA, text_bytes
from infra.stage import StageConfig, partitioned
from infra.store.ledger import Account

# Beside each document, the cluster of near-duplicates that it is of, or null: what must not be torn apart later.
CORPUS_SCHEMA = DOCUMENT_SCHEMA.append(pa.field("cluster", pa.string()))
KEPT = ""
ALL_STRUCK = "paragraphs:dropped:all_paragraphs_struck"
NEAR_DUPLICATE = "near_duplicates:dropped:near_duplicate"
DUPLICATE_ID = "documents:failed:duplicate_id"
_JUDGED_SCHEMA = pa.schema(
    [
        ("partition", pa.int32()),
        ("row", pa.int32()),
        ("fate", pa.string()),
        ("id", pa.string()),
        ("cluster", pa.string()),
        ("length", pa.int64()),
        ("date", pa.string()),
    ]
)
_FATE_SCHEMA = pa.schema([("shard", pa.int32()), ("row", pa.int32()), ("fate", pa.string())])


class Rule(StageConfig):
    """A threshold on a column of an annotation: ``at_least ≤ value ≤ at_most``, or one of some labels.

    A document without a value fails the rule unless `missing` lets it pass (a language without a model of its own
    has no perplexity). Documents that fail are dropped under ``reason``.
    """

    stage: str
    column: str
    reason: str = pydantic.Field(pattern=r"^[a-z0-9_]+$")
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] | None = None
    missing: Literal["fails", "passes"] = "fails"

    @pydantic.model_validator(mode="after")
    def _asks_something(self) -> Rule:
        if self.at_least is None and self.at_most is None and self.one_of is None:
            raise ValueError(f"the rule {self.reason} sets no threshold: give at_least, at_most or one_of")
        return self


class CorpusConfig(StageConfig):
    """The recipe's rules in order, and which member of a cluster of near-duplicates survives.

    Without `near_duplicates` all members do; where clusters are known, they are still written beside the documents.
    """

    rules: tuple[Rule, ...] = ()
    survivors: tuple[Literal["longest", "shortest", "earliest", "latest", "first"], ...] = ("longest", "earliest")
    near_duplicates: bool = True
    # Ids and clusters are compared across all documents, so one partition sees all of them.
    partitions: Literal[1] = 1


def judge(documents: pa.Table, config: CorpusConfig) -> pa.Table:
    """For each document, the first rule that it fails by itself, and what is needed to choose among near-duplicates.

    A document that a stage could not annotate fails there under the stage's own reason, in the place of that
    stage's first rule.
    """
    fate = _first(pc.equal(pc.utf8_trim_whitespace(documents["text"]), ""), ALL_STRUCK, _nothing(documents.num_rows))
    failed_seen: set[str] = set()
    for rule in config.rules:
        name = f"{rule.stage}.failed"
        if rule.stage not in failed_seen and name in documents.column_names:
            reasons = pc.binary_join_element_wise(f"{rule.stage}:failed", documents[name], ":")
            fate = pc.if_else(pc.and_(pc.equal(fate, KEPT), pc.is_valid(reasons)), reasons, fate)
        failed_seen.add(rule.stage)
        fate = _first(_fails(documents, rule), f"{rule.stage}:dropped:{rule.reason}", fate)
    cluster = _clusters(documents) if config.near_duplicates else pa.nulls(documents.num_rows, pa.string())
    rows = pa.array(np.arange(documents.num_rows, dtype=np.int32))
    columns = [
        pa.array(np.zeros(documents.num_rows, np.int32)),
        rows,
        fate,
        documents["id"],
        cluster,
        pc.cast(pc.binary_length(documents["text"]), pa.int64()),
        documents["date"],
    ]
    return pa.table(columns, schema=_JUDGED_SCHEMA)


def choose(tables: Iterable[tuple[int, pa.Table]], config: CorpusConfig) -> pa.Table:
    """The fate of every document: its own, or that it repeats an id, or that a near-duplicate of it survives."""
    judged = [
        table.append_column("shard", pa.array(np.full(table.num_rows, shard, np.int32))) for shard, table in tables
    ]
    if not judged:
        return _FATE_SCHEMA.empty_table()
    table = pa.concat_tables(judged)
    table = table.append_column("place", pa.array(np.arange(table.num_rows, dtype=np.int64)))
    fates = np.array(table["fate"].to_pylist(), dtype=object)
    firsts = table.group_by("id").aggregate([("place", "min")])["place_min"].to_numpy()
    repeated = np.ones(table.num_rows, dtype=bool)
    repeated[firsts] = False
    fates[repeated] = DUPLICATE_ID
    table = table.set_column(table.schema.get_field_index("fate"), "fate", pa.array(fates, pa.string()))
    rivals = table.filter(pc.and_(pc.equal(table["fate"], KEPT), pc.is_valid(table["cluster"])))
    if rivals.num_rows:
        ordered = rivals.sort_by([("cluster", "ascending"), *_preference(config), ("place", "ascending")])
        clusters = ordered["cluster"].to_numpy(zero_copy_only=False)
        losers = np.r_[False, clusters[1:] == clusters[:-1]]
        fates[ordered["place"].to_numpy()[losers]] = NEAR_DUPLICATE
    return pa.table([table["shard"], table["row"], pa.array(fates, pa.string())], schema=_FATE_SCHEMA)


def select(documents: pa.Table, rows: pa.Table, config: CorpusConfig) -> tuple[pa.Table, Account]:
    """The documents that are kept, with edits applied and their clusters, and the account of all of them by fate."""
    fates = rows.sort_by("row")["fate"].combine_chunks()
    clustered = documents.select(DOCUMENT_SCHEMA.names).append_column("cluster", _clusters(documents))
    kept = clustered.filter(pc.equal(fates, KEPT))
    counts: dict[str, dict[str, int]] = {"dropped": {}, "failed": {}}
    bytes_out = {"kept": text_bytes(kept["text"]), "paragraphs:struck": _bytes_struck(documents)}
    for fate in sorted(pc.unique(fates).to_pylist()):
        if fate != KEPT:
            out = documents.filter(pc.equal(fates, fate))
            stage, kind, reason = fate.split(":")
            counts[kind][f"{stage}:{reason}"] = out.num_rows
            bytes_out[f"{stage}:{reason}"] = text_bytes(out["text"])
            if fate == DUPLICATE_ID:
                # It is out before paragraphs are struck, with its text as stored.
                bytes_out[f"{stage}:{reason}"] += _bytes_struck(out)
                bytes_out["paragraphs:struck"] -= _bytes_struck(out)
    account = Account(
        rows_in=documents.num_rows,
        kept=kept.num_rows,
        dropped=counts["dropped"],
        failed=counts["failed"],
        bytes_in=text_bytes(documents["text"]) + _bytes_struck(documents),
        bytes_out=bytes_out,
    )
    return kept, account


corpus = partitioned(
    "corpus",
    version=2,
    config=CorpusConfig,
    reference="tasks.corpus:corpus",
    schema=CORPUS_SCHEMA,
    map=judge,
    reduce=choose,
    scatter=select,
    view=["paragraphs"],
    reads=["paragraphs", "language", "heuristics", "perplexity", "near_duplicates"],
    columns=list(DOCUMENT_SCHEMA.names),
    aligned=False,
)


def _fails(documents: pa.Table, rule: Rule) -> pa.ChunkedArray | pa.Array:
    name = f"{rule.stage}.{rule.column}"
    if name not in documents.column_names:
        raise ValueError(f"the rule {rule.reason} asks for {name}, and no stage of this recipe gives that column")
    column = documents[name]
    fails = pa.array(np.zeros(documents.num_rows, dtype=bool))
    if rule.at_least is not None:
        fails = pc.or_(fails, pc.fill_null(pc.less(column, rule.at_least), False))
    if rule.at_most is not None:
        fails = pc.or_(fails, pc.fill_null(pc.greater(column, rule.at_most), False))
    if rule.one_of is not None:
        allowed = pc.is_in(column, pa.array(rule.one_of, column.type))
        fails = pc.or_(fails, pc.and_(pc.is_valid(column), pc.invert(allowed)))
    if rule.missing == "fails":
        fails = pc.or_(fails, pc.is_null(column))
    return fails


def _clusters(documents: pa.Table) -> pa.ChunkedArray | pa.Array:
    if "near_duplicates.cluster" not in documents.column_names:
        return pa.nulls(documents.num_rows, pa.string())
    return documents["near_duplicates.cluster"]


def _first(fails: pa.ChunkedArray | pa.Array, fate: str, so_far: pa.ChunkedArray | pa.Array) -> pa.Array:
    return pc.if_else(pc.and_(fails, pc.equal(so_far, KEPT)), fate, so_far)


def _bytes_struck(documents: pa.Table) -> int:
    if "paragraphs.bytes_struck" not in documents.column_names:
        return 0
    return int(pc.sum(documents["paragraphs.bytes_struck"]).as_py() or 0)


def _nothing(rows: int) -> pa.Array:
    return pa.array([KEPT] * rows, pa.string())


def _preference(config: CorpusConfig) -> list[tuple[str, str]]:
    orders = {
        "longest": ("length", "descending"),
        "shortest": ("length", "ascending"),
        "earliest": ("date", "ascending"),
        "latest": ("date", "descending"),
        "first": ("place", "ascending"),
    }
    return [orders[name] for name in config.survivors]
