"""The corpus: first failing rule, survivors of clusters, repeated ids, and an account that balances."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pytest
from pydantic import ValidationError

from infra.documents import DOCUMENT_SCHEMA
from infra.store.ledger import Account, BooksDoNotBalance
from tasks.corpus import CorpusConfig, Rule, choose, judge, select
from tasks.report.funnel import corpus_funnel

SCORE = Rule(stage="language", column="score", at_least=0.5, reason="low_score")
LABEL = Rule(stage="language", column="label", one_of=("en", "de"), reason="other_language")
LENGTH = Rule(stage="heuristics", column="word_count", at_least=3, at_most=9, reason="word_count")


def documents(*rows: dict[str, object]) -> pa.Table:
    """A shard with what other stages found out; every value has a default that passes."""
    filled = [
        {
            **{"id": f"d{number}", "text": "one two three", "date": "2026-01-01", "source": "s"},
            **{"language.score": 0.9, "language.label": "en", "language.failed": None, "heuristics.word_count": 3},
            **{"near_duplicates.cluster": None, "paragraphs.bytes_struck": 0},
            **row,
        }
        for number, row in enumerate(rows)
    ]
    added = pa.schema(
        [
            ("language.score", pa.float64()),
            ("language.label", pa.string()),
            ("language.failed", pa.string()),
            ("heuristics.word_count", pa.int64()),
            ("near_duplicates.cluster", pa.string()),
            ("paragraphs.bytes_struck", pa.int64()),
        ]
    )
    schema = pa.schema([column.with_nullable(True) for column in DOCUMENT_SCHEMA] + list(added))
    return pa.Table.from_pylist(filled, schema)


def fates(config: CorpusConfig, shards: Iterable[pa.Table]) -> list[list[str]]:
    """The fate of every document by shard."""
    tables = list(shards)
    judged = [(number, judge(table, config).drop_columns(["partition"])) for number, table in enumerate(tables)]
    rows = choose(judged, config).to_pylist()
    return [[row["fate"] for row in rows if row["shard"] == number] for number in range(len(tables))]


def test_the_first_failing_rule_is_the_reason() -> None:
    shard = documents(
        {},
        {"language.score": 0.1, "heuristics.word_count": 1},
        {"language.label": "fr"},
        {"heuristics.word_count": 10},
        {"heuristics.word_count": None},
        {"language.score": None, "language.failed": "empty_text"},
        {"text": " \n"},
    )
    found = fates(CorpusConfig(rules=(SCORE, LABEL, LENGTH)), [shard])[0]
    assert found == [
        "",
        "language:dropped:low_score",
        "language:dropped:other_language",
        "heuristics:dropped:word_count",
        "heuristics:dropped:word_count",
        "language:failed:empty_text",
        "paragraphs:dropped:all_paragraphs_struck",
    ]
    turned = fates(CorpusConfig(rules=(LENGTH, SCORE)), [shard])[0]
    assert turned[1] == "heuristics:dropped:word_count"


def test_a_missing_value_passes_where_the_rule_says_so() -> None:
    rule = Rule(stage="heuristics", column="word_count", at_least=3, reason="word_count", missing="passes")
    shard = documents({"heuristics.word_count": None}, {"heuristics.word_count": 2})
    assert fates(CorpusConfig(rules=(rule,)), [shard])[0] == ["", "heuristics:dropped:word_count"]


def test_a_cluster_keeps_its_preferred_member() -> None:
    shards = [
        documents(
            {"near_duplicates.cluster": "c", "text": "a b c"}, {"near_duplicates.cluster": "c", "text": "a b c d"}
        ),
        documents({"id": "e0", "near_duplicates.cluster": "c", "text": "a b"}, {"id": "e1"}),
    ]
    out = "near_duplicates:dropped:near_duplicate"
    assert fates(CorpusConfig(survivors=("longest",)), shards) == [[out, ""], [out, ""]]
    assert fates(CorpusConfig(survivors=("shortest",)), shards) == [[out, out], ["", ""]]
    assert fates(CorpusConfig(survivors=("first",)), shards) == [["", out], [out, ""]]
    assert fates(CorpusConfig(near_duplicates=False), shards) == [["", ""], ["", ""]]


def test_a_cluster_whose_preferred_member_fails_a_rule_keeps_the_next() -> None:
    shards = [
        documents(
            {"near_duplicates.cluster": "c", "text": "a b c d", "language.score": 0.1},
            {"near_duplicates.cluster": "c", "text": "a b c"},
            {"near_duplicates.cluster": "c", "text": "a b"},
        )
    ]
    found = fates(CorpusConfig(rules=(SCORE,), survivors=("longest",)), shards)[0]
    assert found == ["language:dropped:low_score", "", "near_duplicates:dropped:near_duplicate"]


def test_a_second_document_of_an_id_fails() -> None:
    shards = [documents({"id": "x"}), documents({"id": "x"}, {"id": "y"})]
    assert fates(CorpusConfig(), shards) == [[""], ["documents:failed:duplicate_id", ""]]


def test_the_account_and_the_funnel_balance_to_the_byte() -> None:
    shard = documents(
        {"text": "äöü kept"},
        {"language.score": 0.1, "paragraphs.bytes_struck": 5},
        {"id": "d0", "text": "again", "paragraphs.bytes_struck": 7},
        {"text": "", "paragraphs.bytes_struck": 20},
        {"heuristics.word_count": 99},
    )
    config = CorpusConfig(rules=(SCORE, LENGTH))
    rows = choose([(0, judge(shard, config).drop_columns(["partition"]))], config)
    kept, account = select(shard, rows, config)
    assert kept["text"].to_pylist() == ["äöü kept"]
    account.check("corpus")
    assert account.bytes_in == len("äöü kept".encode()) + 2 * len("one two three") + 5 + len("again") + 7 + 20
    source = Account(rows_in=6, kept=5, dropped={"not_html": 1}, bytes_in=60, bytes_out={"kept": 50, "not_html": 10})
    funnel = corpus_funnel(source, account, ["documents", "paragraphs", "language", "heuristics"], 1)
    assert [(entry.stage, entry.documents_in, entry.documents_kept) for entry in funnel] == [
        ("source", 6, 5),
        ("documents", 5, 4),
        ("paragraphs", 4, 3),
        ("language", 3, 2),
        ("heuristics", 2, 1),
        ("corpus", 1, 1),
    ]
    assert [entry.bytes_struck for entry in funnel] == [0, 0, 25, 0, 0, 0]
    assert funnel[-1].bytes_kept == len("äöü kept".encode())
    with pytest.raises(BooksDoNotBalance, match="2 rows"):
        corpus_funnel(source, account, ["documents", "paragraphs", "language", "heuristics"], 2)
    with pytest.raises(BooksDoNotBalance, match="left at the end"):
        corpus_funnel(source, account, ["documents", "paragraphs", "language"], 1)


def test_a_rule_without_a_threshold_is_refused() -> None:
    with pytest.raises(ValidationError, match="sets no threshold"):
        Rule(stage="language", column="score", reason="nothing")


def test_clusters_stand_beside_the_documents_that_stay() -> None:
    """Also where all members stay: who splits the corpus later must know them."""
    shard = documents({"near_duplicates.cluster": "c"}, {"near_duplicates.cluster": "c"}, {})
    for config, expected in ((CorpusConfig(near_duplicates=False), ["c", "c", None]), (CorpusConfig(), ["c", None])):
        rows = choose([(0, judge(shard, config).drop_columns(["partition"]))], config)
        kept, account = select(shard, rows, config)
        account.check("corpus")
        assert kept.schema.names == [*DOCUMENT_SCHEMA.names, "cluster"]
        assert kept["cluster"].to_pylist() == expected
    bare = shard.drop_columns(["near_duplicates.cluster"])
    rows = choose([(0, judge(bare, CorpusConfig()).drop_columns(["partition"]))], CorpusConfig())
    assert select(bare, rows, CorpusConfig())[0]["cluster"].to_pylist() == [None] * 3
