"""``--set``: which values a key stands for, and what is told when it stands for none."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.recipe.overrides import matches, replace_values
from tasks.recipe.schema import Recipe
from tasks.settings import RecipeError
from tests.tasks.recipe.small import SCORE, recipe, source

WORDS = {"column": "heuristics.word_count", "at_least": 50, "reason": "word_count"}
WHOLE = recipe(
    models={"own": {"fit": "language_models", "on": ["known"], "order": 3}},
    references={"known": {"read": "jsonl", "steps": ["language"]}},
    sources={
        "web": source("language", {"perplexity": {"model": "own"}}, rules=[SCORE, WORDS]),
        "books": source("language", {"spaced": {"stage": "language", "line_feed": " "}}, rules=[SCORE]),
    },
    across=[{"near_duplicates": {"survivors": ["longest", "earliest"]}}],
)


def value_at(changed: Recipe, path: str) -> Any:
    """A value of a recipe as stored, by its path; members of lists go by name, reason or number."""
    found: Any = changed.model_dump(mode="json")
    for part in path.split("."):
        if isinstance(found, list):
            found = next(
                item
                for number, item in enumerate(found)
                if str(number) == part or (isinstance(item, dict) and part in (item.get("name"), item.get("reason")))
            )
        else:
            found = found[part]
    return found


@pytest.mark.parametrize(
    ("key", "paths"),
    [
        ("tokenizer.vocabulary_size", ["tokenizer.vocabulary_size"]),
        ("most_failures", ["most_failures"]),
        ("sources.web.language.line_feed", ["sources.web.language.line_feed"]),
        ("sources.web.perplexity.model", ["sources.web.perplexity.model"]),
        ("sources.web.read.min_characters", ["sources.web.read.min_characters"]),
        ("sources.web.rules.low_score.at_least", ["sources.web.rules.low_score.at_least"]),
        ("sources.web.steps.language.decimals", ["sources.web.language.decimals"]),
        ("sources.books.spaced.line_feed", ["sources.books.spaced.line_feed"]),
        ("sources.books.share", ["sources.books.share"]),
        ("references.known.language.decimals", ["references.known.language.decimals"]),
        ("across.near_duplicates.threshold", ["across.near_duplicates.threshold"]),
        ("across.near_duplicates.survivors", ["across.near_duplicates.survivors"]),
        ("near_duplicates.survivors.0", ["across.near_duplicates.survivors.0"]),
        ("models.own.order", ["models.own.order"]),
        ("own.minimum_documents", ["models.own.minimum_documents"]),
        (
            "language.decimals",
            ["sources.web.language.decimals", "sources.books.language.decimals", "references.known.language.decimals"],
        ),
        (
            "rules.low_score.at_least",
            ["sources.web.rules.low_score.at_least", "sources.books.rules.low_score.at_least"],
        ),
        ("rules.word_count.at_most", ["sources.web.rules.word_count.at_most"]),
        ("read.min_characters", ["sources.web.read.min_characters", "sources.books.read.min_characters"]),
        ("inputs", ["sources.web.inputs", "sources.books.inputs"]),
    ],
)
def test_a_key_stands_for_every_value_that_it_fits(key: str, paths: list[str]) -> None:
    assert matches(WHOLE, key) == paths


def test_values_are_replaced_where_the_key_says_and_nowhere_else() -> None:
    everywhere = replace_values(WHOLE, ["language.decimals=4"], "x")
    paths = [f"sources.{name}.steps.language.config.decimals" for name in ("web", "books")]
    assert [value_at(everywhere, path) for path in paths] == [4, 4]
    assert value_at(everywhere, "sources.books.steps.spaced.config.decimals") == 2
    one = replace_values(WHOLE, ["sources.web.language.decimals=4"], "x")
    assert [value_at(one, path) for path in paths] == [4, 2]
    assert replace_values(one, ["sources.web.language.decimals=2"], "x") == WHOLE


def test_later_settings_win_and_values_are_yaml() -> None:
    changed = replace_values(
        WHOLE,
        [
            "most_failures=0.5",
            "most_failures=0.25",
            "across.near_duplicates.survivors=[source, longest]",
            ("sources.web.inputs", ["a=b.jsonl"]),
            "rules.word_count.missing=passes",
            "sources.books.share=2",
        ],
        "x",
    )
    assert changed.most_failures == 0.25
    assert changed.across[0].survivors == ("source", "longest")
    assert changed.sources["web"].inputs == ("a=b.jsonl",)
    assert changed.sources["web"].rules[1].missing == "passes"
    assert changed.sources["books"].share == 2


def test_a_rule_gets_another_condition_or_none() -> None:
    english = {"column": "language.label", "one_of": ["en"]}
    given = replace_values(WHOLE, [("rules.word_count.when", english)], "x")
    other = replace_values(given, ["rules.word_count.when.one_of=[de, fr]"], "x").sources["web"].rules[1]
    assert other.when is not None and other.when.one_of == ("de", "fr")
    assert replace_values(given, ["rules.word_count.when=null"], "x") == WHOLE


def test_a_whole_section_may_be_given() -> None:
    changed = replace_values(WHOLE, ["sources.books={read: web_archive, steps: [heuristics]}"], "x")
    assert (changed.sources["books"].read.stage, len(changed.sources["books"].rules)) == ("web_archive", 0)
    emptied = replace_values(WHOLE, ["rules=[]"], "x")
    assert [section.rules for section in emptied.sources.values()] == [(), ()]


def test_without_settings_the_recipe_is_itself() -> None:
    assert replace_values(WHOLE, [], "x") is WHOLE


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("unheard.of=1", "the recipe has no unheard; it has language, perplexity, spaced, near_duplicates, own, name"),
        ("sources.nowhere.share=1", "there is no nowhere; sources has web, books"),
        ("sources.web.heuristics.x=1", "the list has no heuristics; it has language, perplexity"),
        ("sources.web.language.linefeed=1", "there is no linefeed"),
        ("across.language.decimals=1", "the list has no language; it has near_duplicates"),
        ("models.other.order=3", "there is no other; models has own"),
        ("own.ordered=3", "there is no ordered"),
        ("rules.unheard_of.at_least=1", "the list has no unheard_of; it has low_score"),
        ("near_duplicates.survivors.0.x=1", "the value there is 'longest', which has no fields"),
        ("language.decimals=9", "language.decimals: Input should be less than or equal to 6"),
        ("most_failures=many", "most_failures: Input should be a valid number"),
        ("sources.web.share=-1", "sources.web.share: Input should be greater than 0"),
        ("no-sign", "write KEY=VALUE"),
        ("name=[", "the value is not YAML"),
    ],
)
def test_a_wrong_setting_is_refused(setting: str, words: str) -> None:
    with pytest.raises(RecipeError) as refused:
        replace_values(WHOLE, [setting], "x")
    assert words in str(refused.value)
