"""Recipes of before: a list of sources that all go through the same optional stages."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.recipe.old_form import from_old_form, is_old_form
from tasks.recipe.resolve import resolve
from tasks.recipe.resolved import ResolvedRecipe
from tasks.recipe.schema import Recipe
from tasks.settings import RecipeError

SCORE = {"stage": "language", "column": "score", "at_least": 0.5, "reason": "low_score"}
FLOOR = {"stage": "language", "column": "score", "at_least": 0.5}


def old(**sections: Any) -> dict[str, Any]:
    """A recipe with everything that one of before could have."""
    return {
        "name": "before",
        "sources": [
            {"name": "crawl", "reader": "web_archive", "config": {"min_characters": 9}, "share": 3},
            {"name": "books", "reader": "jsonl", "inputs": ["b.jsonl"], "share": 1},
        ],
        "paragraphs": {"shards_per_group": 1},
        "language": {},
        "heuristics": None,
        "language_models": {"minimum_documents": 20},
        "perplexity": {"head_percentile": 20},
        "near_duplicates": {"threshold": 0.7},
        "survivors": ["earliest"],
        "rules": [SCORE],
        "most_failures": 0.2,
        "tokens": {"held_out_every": 9},
        **sections,
    }


def read(values: dict[str, Any]) -> ResolvedRecipe:
    """The recipe in the present form, resolved."""
    return resolve(Recipe.model_validate(from_old_form(values)))


def test_a_list_of_sources_is_the_old_form() -> None:
    assert is_old_form(old())
    assert not is_old_form({"sources": {"crawl": {}}}) and not is_old_form({})


def test_every_part_is_carried_over() -> None:
    whole = read(old())
    recipe = whole.recipe
    assert list(recipe.sources) == ["crawl", "books"]
    assert recipe.shares() == {"crawl": 0.75, "books": 0.25}
    assert recipe.sources["crawl"].read.config["min_characters"] == 9
    assert recipe.sources["books"].inputs == ("b.jsonl",)
    for source in whole.sources:
        assert [step.name for step in source.steps] == [
            "paragraphs",
            "language",
            "perplexity",
            "near_duplicates_signatures",
        ]
        assert source.section.model_dump()["rules"][0]["column"] == "language.score"
    perplexity = whole.sources[0].step("perplexity")
    assert perplexity is not None and perplexity.model == "language_models"
    assert perplexity.config.model_dump()["head_percentile"] == 20
    model = recipe.models["language_models"]
    assert (model.stage, model.on, model.config["minimum_documents"]) == ("language_models", ("crawl", "books"), 20)
    [step] = whole.across
    assert (step.survivors, step.config.model_dump()["threshold"]) == (("earliest",), 0.7)
    assert (recipe.most_failures, recipe.tokens.held_out_every) == (0.2, 9)


def test_models_are_fitted_on_reference_text_where_there_is_some() -> None:
    whole = read(old(reference=[{"name": "known", "reader": "jsonl"}]))
    assert whole.recipe.models["language_models"].on == ("known",)
    assert [step.name for step in whole.references[0].steps] == ["language"]


def test_stages_that_were_left_out_are_no_steps() -> None:
    bare = old(**dict.fromkeys(("paragraphs", "language_models", "perplexity", "near_duplicates")))
    whole = read({key: value for key, value in bare.items() if key != "survivors"})
    assert [step.name for step in whole.sources[0].steps] == ["language"]
    assert whole.across == () and whole.recipe.models == {}


def test_a_floor_on_the_language_kept_nothing_from_the_heuristics() -> None:
    """Both were computed in one read, so the order of the steps says which of them the floor comes before."""
    whole = read(old(heuristics={}, floors=[FLOOR]))
    found = {step.name: bool(step.floors) for step in whole.sources[0].steps}
    assert list(found)[:3] == ["paragraphs", "heuristics", "language"]
    assert found["heuristics"] is False and found["perplexity"] is True


@pytest.mark.parametrize("entry", ["crawl", {"name": "crawl"}, {"reader": "jsonl"}, None])
def test_a_source_without_a_name_or_reader_is_refused(entry: Any) -> None:
    with pytest.raises(RecipeError, match="sources: each needs a name and a reader"):
        from_old_form(old(sources=[entry]))
