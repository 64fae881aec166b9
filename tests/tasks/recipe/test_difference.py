"""What differs between two recipes, and what a build of the second would make."""

from __future__ import annotations

from typing import Any

from tasks.recipe.difference import Difference, differences, made_anew
from tasks.recipe.resolved import ResolvedRecipe
from tests.tasks.recipe.small import SCORE, resolved, source

OTHER = {"column": "language.label", "one_of": ["en"], "reason": "other_language"}
CORPORA = ["web/corpus", "books/corpus"]
TOKENS = ["tokenizer", "web/encode", "books/encode", "tokens"]


def built(**changes: Any) -> ResolvedRecipe:
    """Two sources with a model, a step across them and tokens."""
    sections: dict[str, Any] = {
        "models": {"own": {"fit": "language_models", "on": ["web"]}},
        "sources": {
            "web": source("paragraphs", "language", {"perplexity": {"model": "own"}}, rules=[SCORE]),
            "books": source("language", rules=[SCORE]),
        },
        "across": ["near_duplicates"],
    }
    return resolved(**{**sections, **changes})


def with_web(*steps: Any, rules: Any = (SCORE,), **more: Any) -> ResolvedRecipe:
    """That recipe with another source ``web``."""
    return built(sources={"web": source(*steps, rules=rules, **more), "books": source("language", rules=[SCORE])})


MODEL = {"perplexity": {"model": "own"}}


def test_equal_recipes_have_no_difference() -> None:
    assert differences(built(), built()) == [] and made_anew(built(), built()) == []


def test_values_that_differ_are_named_by_reason_and_step() -> None:
    stricter = {**SCORE, "at_least": 0.8}
    found = differences(built(), with_web({"paragraphs": {"files_per_group": 1}}, "language", MODEL, rules=[stricter]))
    assert found == [
        Difference("sources.web.steps.paragraphs.config.files_per_group", 50, 1),
        Difference("sources.web.rules.low_score.at_least", 0.5, 0.8),
    ]


def test_a_condition_of_a_rule_is_a_difference_and_scores_nothing_anew() -> None:
    english = {"column": "language.label", "one_of": ["en"]}
    before = with_web("language", MODEL, rules=[SCORE])
    after = with_web("language", MODEL, rules=[{**SCORE, "when": {**english, "at_least": None, "at_most": None}}])
    assert differences(before, after) == [
        Difference("sources.web.rules.low_score.when", None, {**english, "at_least": None, "at_most": None})
    ]
    assert "web/rules" in made_anew(before, after) and "web/language" not in made_anew(before, after)


def test_another_end_of_documents_makes_tokens_anew() -> None:
    left, right = (built(tokenizer={"file": "x.json", **more}) for more in ({}, {"end_of_document": "</s>"}))
    assert differences(left, right) == [Difference("tokenizer.end_of_document", "<|endoftext|>", "</s>")]
    assert made_anew(left, right) == ["web/encode", "books/encode", "tokens"]


def test_a_part_of_one_recipe_alone_is_a_difference() -> None:
    found = differences(built(), with_web("paragraphs", "language", MODEL, rules=[SCORE, OTHER]))
    [added] = found
    assert (added.path, added.left) == ("sources.web.rules.other_language", None)
    assert added.right["one_of"] == ["en"]


def test_another_order_is_a_difference() -> None:
    left, right = (with_web("paragraphs", "language", MODEL, rules=rules) for rules in ([SCORE, OTHER], [OTHER, SCORE]))
    assert differences(left, right) == [
        Difference("sources.web.rules (order)", ["low_score", "other_language"], ["other_language", "low_score"])
    ]
    assert made_anew(left, right) == ["web/rules", "outcomes", *CORPORA, *TOKENS]


def test_a_threshold_makes_no_scoring_step_anew() -> None:
    moved = with_web("paragraphs", "language", MODEL, rules=[{**SCORE, "at_least": 0.8}])
    assert made_anew(built(), moved) == ["web/rules", "outcomes", *CORPORA, *TOKENS]


def test_a_step_makes_all_behind_it_anew() -> None:
    changed = with_web("paragraphs", {"language": {"decimals": 3}}, MODEL)
    assert made_anew(built(), changed) == [
        "web/language",
        "models/own",
        "web/perplexity",
        "web/rules",
        "outcomes",
        *CORPORA,
        *TOKENS,
    ]


def test_an_edit_reaches_duplicates_across_sources() -> None:
    changed = with_web({"paragraphs": {"files_per_group": 1}}, "language", MODEL)
    anew = made_anew(built(), changed)
    assert {"web/paragraphs", "web/near_duplicates_signatures", "across/near_duplicates"} <= set(anew)
    assert not {"web/documents", "books/documents", "books/language", "books/rules", "index"} & set(anew)


def test_a_preference_among_duplicates_chooses_again_and_compares_nothing() -> None:
    changed = built(across=[{"near_duplicates": {"survivors": ["source"]}}])
    assert made_anew(built(), changed) == ["outcomes", *CORPORA, *TOKENS]


def test_another_step_that_a_step_across_reads_counts() -> None:
    def reading(name: str) -> ResolvedRecipe:
        steps = [{f"signatures_{mark}": {"stage": "signatures"}} for mark in (1, 2)]
        return resolved(sources={"web": source(*steps)}, across=[{"near_duplicates": {"reads": {"signatures": name}}}])

    anew = made_anew(reading("signatures_1"), reading("signatures_2"))
    assert anew[0] == "across/near_duplicates" and "tokens" in anew


def test_a_mixture_makes_tokens_alone() -> None:
    sources = {
        "web": source("paragraphs", "language", MODEL, rules=[SCORE]),
        "books": source("language", rules=[SCORE]),
    }
    shares = {"web": 3, "books": 1}
    changed = built(sources={name: {**body, "share": shares[name]} for name, body in sources.items()})
    assert made_anew(built(), changed) == ["tokens"]


def test_the_order_of_sources_is_a_difference() -> None:
    sources = {
        "books": source("language", rules=[SCORE]),
        "web": source("paragraphs", "language", MODEL, rules=[SCORE]),
    }
    swapped = built(sources=sources)
    assert differences(built(), swapped) == [Difference("sources (order)", ["web", "books"], ["books", "web"])]
    assert {"across/near_duplicates", "outcomes", "index", "tokens"} <= set(made_anew(built(), swapped))
