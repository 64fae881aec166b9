"""What a recipe may say, and how short."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.recipe.parts import FittedModel, Reader, Step
from tasks.recipe.schema import Recipe
from tests.tasks.recipe.small import recipe, source


def test_a_step_is_the_same_in_every_form() -> None:
    short = Step.model_validate({"language": {"line_feed": " ", "model": "bundled:lid.176.ftz"}})
    full = Step.model_validate(
        {"name": "language", "stage": "language", "config": {"line_feed": " "}, "model": "bundled:lid.176.ftz"}
    )
    assert short == full
    assert (
        Step.model_validate("language")
        == Step.model_validate({"language": {}})
        == Step.model_validate({"language": None})
    )
    other = Step.model_validate({"spaced": {"stage": "language", "line_feed": " "}})
    assert (other.name, other.stage, other.config["line_feed"]) == ("spaced", "language", " ")


def test_a_step_stored_is_the_step() -> None:
    """A build record holds the recipe; `tokenize` and `difference` read it again."""
    written = recipe(
        models={"own": {"fit": "language_models", "on": ["web"], "order": 3}},
        sources={"web": source("language", {"perplexity": {"model": "own"}}, share=2)},
        across=[{"near_duplicates": {"survivors": ["source", "longest"], "threshold": 0.7}}],
    )
    assert Recipe.model_validate(written.model_dump(mode="json")) == written


def test_a_config_has_the_defaults_of_its_stage() -> None:
    assert Step.model_validate("language").config == {"line_feed": "", "decimals": 2, "compat": None}
    assert Reader.model_validate("jsonl").config["min_characters"] == 1
    assert "source" not in Reader.model_validate("jsonl").config
    assert Reader.model_validate("jsonl").config_for("web").model_dump()["source"] == "web"


def test_a_field_that_was_renamed_may_have_its_old_name() -> None:
    """A build record may hold it. The number counts files now."""
    assert Step.model_validate({"paragraphs": {"shards_per_group": 3, "partitions": 2}}) == Step.model_validate(
        {"paragraphs": {"files_per_group": 3}}
    )
    with pytest.raises(ValidationError, match="shards_per_group and files_per_group are one field: omit the first"):
        Step.model_validate({"paragraphs": {"shards_per_group": 3, "files_per_group": 3}})


def test_a_fitted_model_takes_fields_of_its_stage_beside_on() -> None:
    short = FittedModel.model_validate({"fit": "language_models", "on": ["web"], "order": 3})
    assert short == FittedModel.model_validate({"stage": "language_models", "on": ["web"], "config": {"order": 3}})
    assert short.typed_config().model_dump()["order"] == 3


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("unheard_of", "there is no annotate or partitioned stage unheard_of: there are "),
        ("jsonl", "there is no annotate or partitioned stage jsonl"),
        ({"language": {"linefeed": " "}}, "language has no linefeed; language has line_feed, decimals, compat"),
        ({"language": {"decimals": 9}}, "language.decimals: Input should be less than or equal to 6"),
        ({"language": 3}, "language: expected a mapping of fields, found 3"),
        ({"language": {}, "heuristics": {}}, "not a mapping of language, heuristics"),
        ({"heuristics": {"model": "x"}}, "heuristics.model: heuristics does not use a model"),
        ({"language": {"survivors": ["longest"]}}, "language.survivors: language does not find duplicates"),
        ({"near_duplicates": {"survivors": ["all", "longest"]}}, "all keeps every member"),
        ({"near_duplicates": {"survivors": ["best"]}}, "Input should be 'longest'"),
        ({"language": {"reads": {"paragraphs": "x"}}}, "language.reads: language does not read paragraphs"),
        ({"No Name": {"stage": "language"}}, "String should match pattern"),
        ({"rules": {"stage": "language"}}, "rules is reserved; choose another name"),
        ({"documents": {"stage": "language"}}, "documents is reserved"),
    ],
)
def test_a_wrong_step_is_refused_by_name(step: Any, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Step.model_validate(step)
    assert words in str(refused.value)


def test_a_reader_is_no_step_and_names_no_source() -> None:
    with pytest.raises(ValidationError, match="there is no source stage language"):
        Reader.model_validate("language")
    with pytest.raises(ValidationError, match="to the name of the source: omit it"):
        Reader.model_validate({"jsonl": {"source": "web"}})


def test_defaults_are_what_a_source_leaves_out() -> None:
    rule = {"column": "language.score", "at_least": 0.5, "reason": "low_score"}
    made = recipe(
        defaults={"read": "web_archive", "steps": ["language"], "rules": [rule], "inputs": ["a.warc.gz"]},
        sources={"web": {}, "books": {"read": "jsonl", "rules": []}, "empty": None},
        references={"known": {"steps": ["heuristics"]}},
    )
    assert [section.read.stage for section in made.sources.values()] == ["web_archive", "jsonl", "web_archive"]
    assert [len(section.rules) for section in made.sources.values()] == [1, 0, 1]
    assert [step.name for step in made.sources["books"].steps] == ["language"]
    # Only how it is read: a reference has no rules, and its steps are its own.
    known = made.references["known"]
    assert (known.read.stage, known.inputs, [step.name for step in known.steps]) == (
        "web_archive",
        ("a.warc.gz",),
        ["heuristics"],
    )
    with pytest.raises(ValidationError, match="defaults: a source has no reader; it has read, inputs"):
        recipe(defaults={"reader": "jsonl"})


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"sources": {}}, "at least 1 item"),
        ({"sources": {"Web": source()}}, "the name 'Web' is invalid: use a-z, 0-9"),
        ({"sources": {"across": source()}}, "sources: across is reserved"),
        ({"sources": {"models": source()}}, "sources: models is reserved"),
        ({"references": {"web": {"read": "jsonl"}}}, "references: web is already a source"),
        ({"source": {}}, "Extra inputs are not permitted"),
        ({"sources": {"web": source(share=0)}}, "Input should be greater than 0"),
        ({"most_failures": 2}, "less than or equal to 1"),
    ],
)
def test_a_wrong_recipe_is_refused(sections: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        recipe(**sections)
    assert words in str(refused.value)


def test_shares_sum_to_one_and_epochs_stand_alone() -> None:
    plain = recipe(sources={"a": source(), "b": source()})
    assert plain.shares() == {"a": 0.5, "b": 0.5} and plain.epochs() == {}
    shared = recipe(sources={"a": source(share=3), "b": source()})
    assert shared.shares() == {"a": 0.75, "b": 0.25}
    repeated = recipe(sources={"a": source(epochs=2.5), "b": source()})
    assert repeated.shares() == {} and repeated.epochs() == {"a": 2.5, "b": 1.0}


def test_an_end_of_documents_is_named_with_a_file() -> None:
    named = recipe(tokenizer={"file": "tokenizer.json", "end_of_document": "</s>"})
    assert Recipe.model_validate(named.model_dump(mode="json")) == named
    with pytest.raises(ValidationError, match="name a file that has the token"):
        recipe(tokenizer={"end_of_document": "</s>"})
