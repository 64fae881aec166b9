"""Rules: the first one that a document fails, floors before them, and the bytes that edits strike."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from tasks.corpus.rules import RULES_SCHEMA, Floor, Rule, RulesConfig, Threshold, apply_rules
from tests.tasks.corpus.tables import documents, strike

SCORE = Rule(column="language.score", at_least=0.5, reason="low_score")
LABEL = Rule(column="language.label", one_of=("en", "de"), reason="other_language")
LENGTH = Rule(column="heuristics.word_count", at_least=3, at_most=9, reason="word_count")
LOW = {"language.score": 0.1}


def outcomes(shard: pa.Table, *rules: Rule, **more: Any) -> list[str]:
    """What the rules say about every document."""
    found = apply_rules(shard, RulesConfig(rules=rules, **more))
    assert found.schema == RULES_SCHEMA
    result: list[str] = found["outcome"].to_pylist()
    return result


def test_the_first_failing_rule_is_the_reason() -> None:
    shard = documents(
        {},
        {"language.score": 0.1, "heuristics.word_count": 1},
        {"language.label": "fr"},
        {"heuristics.word_count": 10},
        {"heuristics.word_count": None},
        {"language.score": None, "language.failed": "empty_text"},
        {"paragraphs.edits": strike(0, 13)},
    )
    assert outcomes(shard, SCORE, LABEL, LENGTH, edits=("paragraphs",)) == [
        "",
        "language:dropped:low_score",
        "language:dropped:other_language",
        "heuristics:dropped:word_count",
        "heuristics:dropped:word_count",
        "language:failed:empty_text",
        "paragraphs:dropped:all_text_struck",
    ]
    assert outcomes(shard, LENGTH, SCORE)[1] == "heuristics:dropped:word_count"


def test_a_value_at_a_threshold_passes() -> None:
    shard = documents(*({"heuristics.word_count": count} for count in (2, 3, 9, 10)))
    out = "heuristics:dropped:word_count"
    assert outcomes(shard, LENGTH) == [out, "", "", out]


def test_a_missing_value_passes_where_the_rule_says_so() -> None:
    rule = Rule(column="heuristics.word_count", at_least=3, reason="word_count", missing="passes")
    shard = documents({"heuristics.word_count": None}, {"heuristics.word_count": 2})
    assert outcomes(shard, rule) == ["", "heuristics:dropped:word_count"]


def test_a_failure_of_a_step_stands_in_the_place_of_its_first_rule() -> None:
    shard = documents({"language.failed": "empty_text", "heuristics.word_count": 1, "language.score": 0.1})
    assert outcomes(shard, LENGTH, SCORE) == ["heuristics:dropped:word_count"]
    assert outcomes(shard, SCORE, LENGTH) == ["language:failed:empty_text"]
    assert outcomes(shard.drop_columns(["language.failed"]), SCORE) == ["language:dropped:low_score"]


def test_a_step_that_a_floor_kept_from_reading_does_not_drop() -> None:
    """The document goes for the true reason: the rule that is as strict as the floor, wherever it stands."""
    floor = Floor(column="language.score", at_least=0.5, steps=("heuristics",))
    shard = documents(
        {"language.score": 0.1, "heuristics.word_count": None},
        {"language.score": None, "heuristics.word_count": None},
        {"heuristics.word_count": None},
        {"heuristics.word_count": 1},
    )
    low, count = "language:dropped:low_score", "heuristics:dropped:word_count"
    assert outcomes(shard, LENGTH, SCORE, floors=(floor,)) == [low, low, count, count]
    assert outcomes(shard, LENGTH, SCORE) == [count, count, count, count]


def test_two_floors_on_a_step_skip_what_either_skips() -> None:
    floors = (
        Floor(column="language.score", at_least=0.5, steps=("heuristics",)),
        Floor(column="language.label", one_of=("en", "de"), steps=("heuristics",)),
    )
    shard = documents({**LOW, "heuristics.word_count": None}, {"language.label": "fr", "heuristics.word_count": None})
    assert outcomes(shard, LENGTH, SCORE, LABEL, floors=floors) == [
        "language:dropped:low_score",
        "language:dropped:other_language",
    ]


def test_lengths_and_struck_bytes_are_of_utf8() -> None:
    shard = documents({"text": "äöü kept", "paragraphs.edits": strike(0, 7)}, {"text": "x" * 9})
    found = apply_rules(shard, RulesConfig(edits=("paragraphs",)))
    assert found["length"].to_pylist() == [4, 9]
    assert found["struck"].to_pylist() == [[7], [0]]
    plain = apply_rules(shard, RulesConfig())
    assert plain["length"].to_pylist() == [11, 9] and plain["struck"].to_pylist() == [[], []]


def test_each_edit_sees_the_text_that_the_one_before_left() -> None:
    shard = documents(
        {"text": "abcdefghij", "paragraphs.edits": strike(0, 4), "boilerplate.edits": strike(0, 1)},
        # The first edit leaves white space, so the document is out, and the second strikes nothing of it.
        {"text": "abcd \n", "paragraphs.edits": strike(0, 4), "boilerplate.edits": strike(0, 2)},
        {"text": "abcd", "boilerplate.edits": strike(0, 4), **LOW},
    )
    found = apply_rules(shard, RulesConfig(rules=(SCORE,), edits=("paragraphs", "boilerplate")))
    assert found["outcome"].to_pylist() == [
        "",
        "paragraphs:dropped:all_text_struck",
        "boilerplate:dropped:all_text_struck",
    ]
    assert found["struck"].to_pylist() == [[4, 1], [4, 0], [0, 4]]
    assert found["length"].to_pylist() == [5, 2, 0]


def test_a_document_without_text_is_not_struck() -> None:
    """Without a step that edits there is nobody to have struck it."""
    assert outcomes(documents({"text": " \n"})) == [""]
    assert outcomes(documents({"text": " \n"}), edits=("paragraphs",)) == ["paragraphs:dropped:all_text_struck"]


def test_no_documents_have_no_outcome() -> None:
    found = apply_rules(documents(), RulesConfig(rules=(SCORE,), edits=("paragraphs",)))
    assert found.schema == RULES_SCHEMA and found.num_rows == 0


def test_the_columns_are_exactly_those_that_it_looks_at() -> None:
    floor = Floor(column="language.label", one_of=("en",), steps=("heuristics",))
    config = RulesConfig(rules=(SCORE, LENGTH), edits=("paragraphs",), floors=(floor,))
    assert apply_rules.columns_of(config) == [
        "text",
        "paragraphs.edits",
        "language.score",
        "heuristics.word_count",
        "language.label",
        "language.failed",
        "heuristics.failed",
    ]
    assert apply_rules.reads(config) == ["paragraphs", "language", "heuristics"]


def test_a_rule_without_a_threshold_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"language\.score has no threshold"):
        Rule(column="language.score", reason="nothing")
    with pytest.raises(ValidationError, match="should match pattern"):
        Threshold(column="score", at_least=0.5)
    with pytest.raises(ValidationError, match="should match pattern"):
        Rule(column="language.score", at_least=0.5, reason="two words")


ENGLISH = Threshold(column="language.label", one_of=("en",))


def test_a_rule_applies_only_where_its_conditions_hold() -> None:
    shard = documents(
        {"heuristics.word_count": 1},
        {"heuristics.word_count": 1, "language.label": "ja"},
        {"heuristics.word_count": 1, "language.label": None},
        {"heuristics.word_count": 5},
    )
    out = "heuristics:dropped:word_count"
    given = {"column": "heuristics.word_count", "at_least": 3, "reason": "word_count"}
    assert outcomes(shard, Rule(**given, when=ENGLISH)) == [out, "", "", ""]
    assert outcomes(shard, Rule(**given, unless=ENGLISH)) == ["", out, out, ""]
    sure = Threshold(column="language.score", at_least=0.95)
    assert outcomes(shard, Rule(**given, when=ENGLISH, unless=sure)) == [out, "", "", ""]
    assert outcomes(shard, Rule(**given, when=sure)) == ["", "", "", ""]


def test_a_missing_value_fails_only_where_the_rule_applies() -> None:
    shard = documents({"heuristics.word_count": None}, {"heuristics.word_count": None, "language.label": "fr"})
    rule = Rule(column="heuristics.word_count", at_least=3, reason="word_count", when=ENGLISH)
    assert outcomes(shard, rule) == ["heuristics:dropped:word_count", ""]


def test_a_document_that_the_step_of_a_condition_could_not_annotate_fails() -> None:
    """Otherwise nobody would hear that the rule was not applied to it."""
    shard = documents({"language.label": None, "language.failed": "empty_text"}, {})
    given = {"column": "heuristics.word_count", "at_least": 3, "reason": "word_count"}
    for rule in (Rule(**given, when=ENGLISH), Rule(**given, unless=ENGLISH)):
        assert outcomes(shard, rule) == ["language:failed:empty_text", ""]
        assert "language.failed" in apply_rules.columns_of(RulesConfig(rules=(rule,)))


def test_a_condition_on_a_step_that_a_floor_kept_from_reading_drops_nothing() -> None:
    floor = Floor(column="language.score", at_least=0.5, steps=("heuristics",))
    long = Threshold(column="heuristics.word_count", at_least=3)
    other = Rule(column="language.label", one_of=("fr",), reason="other_language", unless=long)
    shard = documents({**LOW, "heuristics.word_count": None}, {"heuristics.word_count": None})
    found = outcomes(shard, other, SCORE, floors=(floor,))
    assert found == ["language:dropped:low_score", "language:dropped:other_language"]


def test_conditions_are_read_and_said_in_words() -> None:
    rule = Rule(column="heuristics.word_count", at_least=3, reason="word_count", when=ENGLISH)
    assert "language.label" in apply_rules.columns_of(RulesConfig(rules=(rule,)))
    assert rule.words == "at least 3" and rule.conditions == ["when language.label is one of en"]
    with pytest.raises(ValidationError, match=r"language\.label has no threshold"):
        Rule.model_validate({**rule.model_dump(), "when": {"column": "language.label"}})
