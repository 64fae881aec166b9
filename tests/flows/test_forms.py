"""The forms of deployments: typed fields with explanations, limits and choices, and values that come back as given."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.utilities.schema_tools.validation import ValidationError, validate

from flows.build import build_corpus
from flows.evaluate import evaluate_run
from flows.forms import form
from flows.line import run_line
from flows.recipe import load_recipe, read_recipe
from flows.report import report_run
from flows.tokenize import tokenize_corpus
from flows.train import train_model
from flows.training import load_training
from model.run.hyperparameters import TrainingConfig
from tasks.settings import RecipeError

CHOICES = {"recipes": ["crawl", "demo"], "presets": ["tiny-llama", "tiny-pythia"], "corpora": ["corpus/crawl"]}
FLOWS = [build_corpus, tokenize_corpus, train_model, evaluate_run, run_line, report_run]


def errors(schema: dict[str, Any], values: dict[str, Any]) -> str:
    """What the server answers to a run with these parameters; "" when it takes them."""
    try:
        validate(values, schema, raise_on_error=True)
    except ValidationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_every_parameter_is_explained(flow: Any) -> None:
    schema = form(flow, CHOICES, {})
    assert schema["properties"]
    for name, body in schema["properties"].items():
        assert body["title"] == name
        assert body["description"].endswith("."), name
        assert "choices" not in body
    assert [body["position"] for body in schema["properties"].values()] == list(range(len(schema["properties"])))


def test_every_hyperparameter_is_a_field_with_its_explanation_and_its_limits() -> None:
    schema = form(train_model, CHOICES, {})
    fields = schema["definitions"]["TrainingOverrides"]["properties"]
    assert list(fields) == list(TrainingConfig.__dataclass_fields__)
    for name, field in TrainingConfig.__dataclass_fields__.items():
        assert fields[name]["description"].startswith(field.metadata["description"])
        assert "default" not in fields[name], "a form would send it, and replace the preset's"
    assert fields["steps"]["minimum"] == 1 and fields["steps"]["description"].endswith("At least 1.")
    assert fields["packing"]["enum"] == ["overlapping", "blocks"]
    assert "required" not in schema["definitions"]["TrainingOverrides"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"training": {"steps": 0}}, "'training.steps'. Failure reason: 0 is less than the minimum of 1"),
        (
            {"training": {"schedule": {"kind": "step"}}},
            "'step' is not one of ['cosine', 'neox_until_2023_08', 'linear', 'constant']",
        ),
        ({"training": {"stepz": 3}}, "'stepz' was unexpected"),
        ({"model": {"layers": "two"}}, "'two' is not"),
        ({"layout": {"zero": 4}}, "4 is greater than the maximum of 3"),
        ({"seed": -1}, "-1 is less than the minimum of 0"),
        ({"config": "tiny-gpt"}, "'tiny-gpt' is not"),
        ({"config": "tiny-llama", "training": {"steps": 9, "scaler": None}, "corpus": "corpus/crawl"}, ""),
        ({"config": {"name": "mine.yaml"}, "corpus": {"name": "3fa9"}, "layout": {"sequence_parallel": True}}, ""),
    ],
)
def test_the_server_refuses_wrong_values_of_a_training(values: dict[str, Any], message: str) -> None:
    told = errors(form(train_model, CHOICES, {}), values)
    assert message in told if message else not told


def test_values_come_to_the_flow_as_typed_ones() -> None:
    given = {"config": {"name": "mine.yaml"}, "training": {"steps": 9}, "layout": {"data": 4, "zero": None}}
    found = train_model.validate_parameters(given)
    assert found["config"] == "mine.yaml"
    assert found["training"].values() == {"steps": 9}
    assert found["layout"].values() == {"data": 4}


def test_without_corpora_their_name_is_typed() -> None:
    body = form(train_model, {**CHOICES, "corpora": []}, {})["properties"]["corpus"]
    assert body["type"] == "string" and "enum" not in body


def test_a_recipe_that_a_deployment_sets_is_offered() -> None:
    body = form(build_corpus, CHOICES, {"recipe": "mine.yaml"})["properties"]["recipe"]
    assert body["anyOf"][0]["enum"] == ["crawl", "demo", "mine.yaml"]


def test_the_form_of_a_recipe_has_its_values_as_defaults() -> None:
    """All of them sent back make the same recipe."""
    schema = form(build_corpus, CHOICES, {"recipe": "demo"}, read_recipe("demo"))
    source = schema["properties"]["values"]["properties"]["sources"]["properties"]["crawl"]["properties"]
    assert source["near_duplicates"]["properties"]["threshold"]["default"] == 0.8
    assert source["rules"]["properties"]["word_count"]["properties"]["at_least"]["default"] == 50
    crawl = form(build_corpus, CHOICES, {"recipe": "crawl"}, read_recipe("crawl"))["properties"]["values"]
    rules = crawl["properties"]["sources"]["properties"]["crawl"]["properties"]["rules"]["properties"]
    assert rules["stop_words"]["description"].endswith("stop_word_count. When language.label is one of en.")
    values = defaults(schema["properties"]["values"])
    assert values["tokenizer"]["vocabulary_size"] == 4096
    assert load_recipe("demo", values=values).recipe == load_recipe("demo").recipe
    assert errors(schema, {"recipe": "demo", "inputs": ["a.warc"], "values": values}) == ""


def test_a_changed_value_of_the_form_is_that_value_of_the_recipe() -> None:
    values = {"sources": {"crawl": {"near_duplicates": {"threshold": 0.7}, "rules": {"word_count": {"at_least": 9}}}}}
    [source] = load_recipe("crawl", values=values).recipe.sources.values()
    assert next(step.config["threshold"] for step in source.steps if step.name == "near_duplicates") == 0.7
    assert next(rule.at_least for rule in source.rules if rule.reason == "word_count") == 9


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "'inputs' is a required property"),
        ({"inputs": []}, "[] should be non-empty"),
        ({"recipe": "demo"}, "'crawl' was expected"),
        (
            {"values": {"sources": {"crawl": {"near_duplicates": {"threshold": 1.7}}}}},
            "1.7 is greater than the maximum",
        ),
        ({"values": {"sources": {"crawl": {"near_duplicatez": {}}}}}, "'near_duplicatez' was unexpected"),
        ({"values": {"tokens": {"validation": 1}}}, "1 is greater than or equal to the maximum of 1"),
    ],
)
def test_the_server_refuses_wrong_values_of_a_recipe(parameters: dict[str, Any], message: str) -> None:
    schema = form(build_corpus, CHOICES, {"recipe": "crawl"}, read_recipe("crawl"))
    inputs = {} if "required" in message else {"inputs": ["a.warc"]}
    assert message in errors(schema, {**inputs, **parameters})


def defaults(schema: dict[str, Any]) -> Any:
    """What a form sends that nobody has changed."""
    if "default" in schema:
        return schema["default"]
    found = {name: defaults(body) for name, body in schema.get("properties", {}).items()}
    return {name: value for name, value in found.items() if value is not None} or None


def test_sections_of_a_file_are_those_of_a_form(tmp_path: Any) -> None:
    """Sections of a file and of a form are the same model."""
    path = tmp_path / "mine.yaml"
    path.write_text("preset: tiny-pythia\ntraining: {steps: 7, schedule: {decay: 7}}\nlayout: {data: 4}\n")
    section = load_training(str(path), {"training": {"schedule": {"warmup": 1}}, "layout": {"zero": 0}})
    assert section.training.values() == {"steps": 7, "schedule": {"warmup": 1, "decay": 7}}
    assert (section.layout.data, section.layout.zero) == (4, 0)
    with pytest.raises(RecipeError, match=r"layout\.data: Input should be greater than or equal to 1"):
        load_training("tiny-pythia", {"layout": {"data": 0}})
    path.write_text("preset: tiny-pythia\nsettings: {training.steps: 7}\n")
    with pytest.raises(RecipeError, match="write sections, such as"):
        load_training(str(path))
