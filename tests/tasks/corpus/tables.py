"""Shards of documents with what steps found out about them, and the three stages of the corpus run over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from infra.documents import DOCUMENT_SCHEMA, EDITS_TYPE, apply_edits
from infra.store.ledger import Account
from tasks.corpus.duplicates import DuplicatesStep, joins_clusters
from tasks.corpus.groups import GROUPS, GroupsConfig, groups
from tasks.corpus.ids import IDS, IdsConfig, ids
from tasks.corpus.outcomes import OutcomesConfig, outcomes
from tasks.corpus.rules import RulesConfig, apply_rules
from tasks.corpus.selection import CorpusConfig, select_documents
from tests.tasks.partitioned import run_partitioned

_COLUMNS = {
    "language.score": pa.float64(),
    "language.label": pa.string(),
    "language.failed": pa.string(),
    "heuristics.word_count": pa.int64(),
    "paragraphs.edits": EDITS_TYPE,
    "boilerplate.edits": EDITS_TYPE,
    "near_duplicates.cluster": pa.string(),
    "exact.cluster": pa.string(),
}


def documents(*rows: dict[str, Any], source: str = "s") -> pa.Table:
    """A shard with what steps found out; every value has a default that passes."""
    filled = [
        {
            **{"id": f"{source}{number}", "text": "one two three", "date": "2026-01-01", "source": source},
            **{"language.score": 0.9, "language.label": "en", "language.failed": None, "heuristics.word_count": 3},
            **{"paragraphs.edits": [], "boilerplate.edits": []},
            **{"near_duplicates.cluster": None, "exact.cluster": None},
            **row,
        }
        for number, row in enumerate(rows)
    ]
    added = pa.schema(list(_COLUMNS.items()))
    schema = pa.schema([column.with_nullable(True) for column in DOCUMENT_SCHEMA] + list(added))
    return pa.Table.from_pylist(filled, schema)


def strike(start: int, end: int) -> list[dict[str, Any]]:
    """The edit that strikes the bytes from `start` to `end`."""
    return [{"start": start, "end": end, "replacement": ""}]


def with_rules(shard: pa.Table, config: RulesConfig) -> pa.Table:
    """The shard with what the rules say about it beside it."""
    judged = apply_rules(shard, config)
    for name in judged.column_names:
        shard = shard.append_column(f"rules.{name}", judged[name])
    return shard


def with_copies(shards: Sequence[pa.Table], partitions: int = 1) -> list[pa.Table]:
    """The shards with what is known of repeated ids beside them."""
    return _beside(shards, IDS, run_partitioned(ids, shards, IdsConfig(), partitions))


def with_outcomes(
    shards: Sequence[pa.Table], rules: RulesConfig | None = None, *duplicates: DuplicatesStep, partitions: int = 1
) -> list[pa.Table]:
    """The shards with rules, groups of clusters and outcomes beside them."""
    judged = [with_rules(shard, rules or RulesConfig()) for shard in with_copies(shards, partitions)]
    if joins_clusters(duplicates):
        joined = run_partitioned(groups, judged, GroupsConfig(duplicates=duplicates), partitions)
        judged = _beside(judged, GROUPS, joined)
    found = run_partitioned(outcomes, judged, OutcomesConfig(duplicates=duplicates), partitions)
    return _beside(judged, "outcomes", found)


def _beside(shards: Sequence[pa.Table], name: str, annotations: Sequence[pa.Table]) -> list[pa.Table]:
    finished = []
    for shard, found in zip(shards, annotations, strict=True):
        for column in found.column_names:
            shard = shard.append_column(f"{name}.{column}", found[column])
        finished.append(shard)
    return finished


def fates(shards: Sequence[pa.Table], rules: RulesConfig | None = None, *duplicates: DuplicatesStep) -> list[list[str]]:
    """The outcome of every document by shard, the same in one partition and in three."""
    found = [
        [shard["outcomes.outcome"].to_pylist() for shard in with_outcomes(shards, rules, *duplicates, partitions=some)]
        for some in (1, 3)
    ]
    assert found[0] == found[1]
    return found[0]


def selected(
    shard: pa.Table, rules: RulesConfig | None = None, *duplicates: DuplicatesStep
) -> tuple[pa.Table, Account]:
    """The corpus of one shard, with its text edited as the engine edits it, and its account."""
    rules = rules or RulesConfig()
    [judged] = with_outcomes([shard], rules, *duplicates)
    text = judged["text"]
    for name in rules.edits:
        text, _ = apply_edits(text, judged[f"{name}.edits"])
    judged = judged.set_column(judged.schema.get_field_index("text"), "text", text)
    return select_documents(judged, CorpusConfig(edits=rules.edits, clusters=True))
