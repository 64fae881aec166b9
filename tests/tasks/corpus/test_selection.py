"""The documents that stay, with books that balance to the byte."""

from __future__ import annotations

import pyarrow as pa
import pytest

from infra.documents import DOCUMENT_SCHEMA
from infra.store.ledger import Account, BooksDoNotBalance
from tasks.corpus.outcomes import DuplicatesStep
from tasks.corpus.rules import Rule, RulesConfig
from tasks.report.funnel import source_funnel
from tests.tasks.corpus.tables import documents, selected, strike

SCORE = Rule(column="language.score", at_least=0.5, reason="low_score")
LENGTH = Rule(column="heuristics.word_count", at_least=3, at_most=9, reason="word_count")
RULES = RulesConfig(rules=(SCORE, LENGTH), edits=("paragraphs",))
STEPS = ["paragraphs", "language", "heuristics"]


def test_the_account_and_the_funnel_balance_to_the_byte() -> None:
    shard = documents(
        {"text": "äöü kept"},
        {"text": "12345one two three", "language.score": 0.1, "paragraphs.edits": strike(0, 5)},
        {"id": "s0", "text": "again and more", "paragraphs.edits": strike(5, 12)},
        {"text": "x" * 20, "paragraphs.edits": strike(0, 20)},
        {"heuristics.word_count": 99},
    )
    kept, account = selected(shard, RULES)
    assert kept["text"].to_pylist() == ["äöü kept"]
    account.check("corpus")
    assert account.bytes_in == sum(len(text.encode()) for text in shard["text"].to_pylist())
    assert account.dropped == {"heuristics:word_count": 1, "language:low_score": 1, "paragraphs:all_text_struck": 1}
    assert account.failed == {"documents:duplicate_id": 1}
    source = Account(rows_in=6, kept=5, dropped={"not_html": 1}, bytes_in=60, bytes_out={"kept": 50, "not_html": 10})
    funnel = source_funnel(source, account, STEPS, 1)
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
        source_funnel(source, account, STEPS, 2)
    with pytest.raises(BooksDoNotBalance, match="remain at the end"):
        source_funnel(source, account, STEPS[:2], 1)


def test_a_repeated_id_is_out_with_its_text_as_stored() -> None:
    shard = documents({"text": "kept"}, {"id": "s0", "text": "again and more", "paragraphs.edits": strike(5, 12)})
    _, account = selected(shard, RULES)
    assert account.bytes_out == {"kept": 4, "documents:duplicate_id": len("again and more"), "paragraphs:struck": 0}


def test_a_repeated_id_whose_whole_text_is_struck_is_out_for_its_id() -> None:
    shard = documents({"text": "kept"}, {"id": "s0", "text": "gone", "paragraphs.edits": strike(0, 4)})
    kept, account = selected(shard, RULES)
    assert account.dropped == {} and account.failed == {"documents:duplicate_id": 1}
    assert account.bytes_out == {"kept": 4, "documents:duplicate_id": 4, "paragraphs:struck": 0}
    account.check("corpus")
    assert kept.num_rows == 1


def test_two_edits_have_books_of_their_own() -> None:
    rules = RulesConfig(rules=(SCORE,), edits=("paragraphs", "boilerplate"))
    shard = documents(
        {"text": "abcdefghij", "paragraphs.edits": strike(0, 4), "boilerplate.edits": strike(0, 1)},
        {"text": "abcd \n", "paragraphs.edits": strike(0, 4), "boilerplate.edits": strike(0, 2)},
        {"text": "abcdef", "boilerplate.edits": strike(0, 3), "language.score": 0.1},
    )
    kept, account = selected(shard, rules)
    account.check("corpus")
    assert kept["text"].to_pylist() == ["fghij"]
    assert account.bytes_in == 22
    assert account.bytes_out == {
        "kept": 5,
        "paragraphs:all_text_struck": 2,
        "language:low_score": 3,
        "paragraphs:struck": 8,
        "boilerplate:struck": 4,
    }
    source = Account(rows_in=3, kept=3, bytes_in=9, bytes_out={"kept": 9})
    funnel = source_funnel(source, account, ["paragraphs", "boilerplate", "language"], 1)
    assert [(entry.stage, entry.bytes_in, entry.bytes_struck, entry.bytes_kept) for entry in funnel[1:]] == [
        ("documents", 22, 0, 22),
        ("paragraphs", 22, 8, 12),
        ("boilerplate", 12, 4, 8),
        ("language", 8, 0, 5),
        ("corpus", 5, 0, 5),
    ]


def test_clusters_stand_beside_the_documents_that_stay() -> None:
    """Also where all members stay: who splits the corpus later must know them."""
    member = {"near_duplicates.cluster": "c"}
    shard = documents(member, member, {})
    for survivors, expected in ((("all",), ["c", "c", None]), (("longest",), ["c", None])):
        step = DuplicatesStep(step="near_duplicates", reason="near_duplicate", survivors=survivors)
        kept, account = selected(shard, None, step)
        account.check("corpus")
        assert kept.schema.names == [*DOCUMENT_SCHEMA.names, "cluster"]
        assert kept["cluster"].to_pylist() == expected
    assert selected(shard)[0]["cluster"].to_pylist() == [None] * 3


def test_a_shard_of_which_nothing_stays_is_accounted_for() -> None:
    kept, account = selected(documents({"language.score": 0.1}, {"language.score": 0.1}), RULES)
    assert kept.num_rows == 0 and (account.rows_in, account.kept) == (2, 0)
    assert account.dropped == {"language:low_score": 2}
    account.check("corpus")
    assert isinstance(kept, pa.Table)
