"""Shards of documents with what steps found out about them, and the three stages of the corpus run over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.documents import DOCUMENT_SCHEMA, EDITS_TYPE, apply_edits
from infra.store.ledger import Account
from tasks.corpus.ids import IdsConfig, ids
from tasks.corpus.outcomes import DuplicatesStep, OutcomesConfig, outcomes
from tasks.corpus.rules import RulesConfig, apply_rules
from tasks.corpus.selection import CorpusConfig, select_documents

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


def with_copies(shards: Sequence[pa.Table]) -> list[pa.Table]:
    """The shards with what is known of repeated ids beside them, the steps combined as the engine combines them."""
    config, step = IdsConfig(), ids.steps
    mapped = [step["map"](shard, config).drop_columns(["partition"]) for shard in shards]
    rows = step["reduce"](list(enumerate(mapped)), config)
    return [
        shard.append_column(
            "ids.copy", step["annotate"](shard, rows.filter(pc.equal(rows["shard"], number)), config)["copy"]
        )
        for number, shard in enumerate(shards)
    ]


def with_outcomes(
    shards: Sequence[pa.Table], rules: RulesConfig | None = None, *duplicates: DuplicatesStep
) -> list[pa.Table]:
    """The shards with rules and outcomes beside them, the steps combined as the engine combines them."""
    config = OutcomesConfig(duplicates=duplicates)
    step = outcomes.steps
    judged = [with_rules(shard, rules or RulesConfig()) for shard in with_copies(shards)]
    mapped = [step["map"](shard.select([*_read(shard, config)]), config) for shard in judged]
    rows = step["reduce"]([(n, table.drop_columns(["partition"])) for n, table in enumerate(mapped)], config)
    finished = []
    for number, shard in enumerate(judged):
        found = step["annotate"](shard, rows.filter(pc.equal(rows["shard"], number)), config)
        for name in found.column_names:
            shard = shard.append_column(f"outcomes.{name}", found[name])
        finished.append(shard)
    return finished


def fates(shards: Sequence[pa.Table], rules: RulesConfig | None = None, *duplicates: DuplicatesStep) -> list[list[str]]:
    """The outcome of every document by shard."""
    return [shard["outcomes.outcome"].to_pylist() for shard in with_outcomes(shards, rules, *duplicates)]


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
    return select_documents(judged, CorpusConfig(edits=rules.edits))


def _read(shard: pa.Table, config: OutcomesConfig) -> list[str]:
    """The columns that the map step declares, those that are there: the engine leaves out the others."""
    return [name for name in outcomes.columns_of(config, "map") if name in shard.column_names]
