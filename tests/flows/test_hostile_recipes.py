"""Recipes that are wrong in every way that came to mind: one clear refusal, and never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.recipe import load_recipe
from tasks.pipeline import build_tasks
from tasks.settings import RecipeError

ONE = "name: x\nsources: {a: {read: jsonl}}\n"
RULED = "name: x\nsources: {{a: {{read: jsonl, steps: [language], rules: [{{{}, reason: r}}]}}}}"
WRONG = [  # one a line: they are read side by side
    "",
    "[]",
    "name: x",
    "name: x\nsources: 3",
    "name: x\nsources: {}",
    "name: x\nsources: {a: }",
    "name: x\nsources: {a: false}",
    "name: x\nsources: {a: [1]}",
    "name: x\nsources: {a: {read: [jsonl]}}",
    "name: x\nsources: {a: {read: {jsonl: {}, wet: {}}}}",
    "name: x\nsources: {a: {read: {jsonl: 3}}}",
    "name: x\nsources: {a: {read: {jsonl: {source: b}}}}",
    "name: x\nsources: {'a\\n': {read: jsonl}}",
    "name: x\nsources: {a.b: {read: jsonl}}",
    "name: x\nsources: {across: {read: jsonl}}",
    "name: x\nsources: {a: {read: ../../etc}}",
    "name: x\nsources: {a: {read: jsonl, steps: language}}",
    "name: x\nsources: {a: {read: jsonl, steps: [3]}}",
    "name: x\nsources: {a: {read: jsonl, steps: [{language: [1]}]}}",
    "name: x\nsources: {a: {read: jsonl, steps: [tokens]}}",
    "name: x\nsources: {a: {read: jsonl, steps: [corpus]}}",
    "name: x\nsources: {a: {read: jsonl, steps: [language, language]}}",
    "name: x\nsources: {a: {read: jsonl, steps: [{rules: {stage: language}}]}}",
    "name: x\nsources: {a: {read: jsonl, steps: [{language: {sees: [language]}}]}}",
    "name: x\nsources: {a: {read: jsonl, steps: [{language: {survivors: [first]}}]}}",
    "name: x\nsources: {a: {read: jsonl, steps: [{near_duplicates: {survivors: []}}]}}",
    "name: x\nsources: {a: {read: jsonl, steps: [{near_duplicates: {threshold: .nan}}]}}",
    "name: x\nsources: {a: {read: jsonl, steps: [perplexity]}}",
    "name: x\nsources: {a: {read: jsonl, steps: [language, {perplexity: {model: nowhere}}]}}",
    "name: x\nsources: {a: {read: jsonl, share: .inf}}",
    "name: x\nsources: {a: {read: jsonl, share: 1}, b: {read: jsonl, epochs: 2}}",
    "name: x\nsources: {a: {read: jsonl, rules: [{column: language, at_least: 1, reason: r}]}}",
    RULED.format("column: language.label, at_least: 1"),
    RULED.format("column: language.score, at_least: .nan"),
    RULED.format("column: language.score, at_least: 2, at_most: 1"),
    ONE + "across: [language]",
    ONE + "across: 3",
    ONE + "models: {m: {fit: language_models}}",
    ONE + "models: {m: {fit: language_models, on: [a], config: [1]}}",
    ONE + "models: {m: {fit: language_models, on: [nobody]}}",
    ONE + "references: {r: {read: jsonl}}",
    ONE + "defaults: {3: 4, foo: 3}",
    ONE + "tokenizer: {file: nowhere.json}",
    ONE + "tokens: {validation: 0.5}",
    ONE + "unheard_of: 1",
    ONE + "name: y",
    "name: x\nsources: [3]",
    "name: x\nsources: [{name: a, reader: jsonl}, {name: a, reader: wet}]",
    "name: x\nsources: [{name: a, reader: jsonl, steps: []}]",
    "name: x\nsources: [{name: a, reader: jsonl}]\nrules: 3",
    "name: x\nsources: [{name: a, reader: jsonl}]\nnear_duplicates: true",
    "name: x\nsources: [{name: a, reader: jsonl}]\nlanguage: {}\nperplexity: {}",
    "a: &a [*a]",
    "{" * 4000,
]
SETTINGS = [
    *("sources.a.steps", "sources.a.steps.language", "sources.b.share=1", "sources=3", "across=3", "a.b.c=1", "=1"),
    *("sources.a.steps=[{language: 3}]", "sources.a.read=3", "sources.a.rules=3", "tokens=", "name=[1]", "x=[[["),
]


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_recipe_is_refused_in_words(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as refused:
        build_tasks(load_recipe("wrong.yaml"))
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_wrong_setting_is_refused_in_words(setting: str, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(ONE, encoding="utf-8")
    with pytest.raises(RecipeError):
        load_recipe(str(tmp_path / "one.yaml"), [setting])


def test_settings_follow_each_other(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(ONE, encoding="utf-8")
    given = ["sources.a.steps=[language]", "language.decimals=4", "across=[near_duplicates]"]
    given += ["across.near_duplicates.threshold=0.7", "sources={b: {read: jsonl}}", "sources.b.share=2"]
    found = load_recipe(str(tmp_path / "one.yaml"), given)
    assert list(found.recipe.sources) == ["b"] and found.across[0].config.model_dump()["threshold"] == 0.7


def test_one_reference_and_source_of_the_older_form_may_have_one_name(tmp_path: Path) -> None:
    text = (
        "name: x\nsources: [{name: w, reader: jsonl}]\nreference: [{name: w, reader: jsonl}]\n"
        "language: {}\nlanguage_models: {}\nperplexity: {}\n"
    )
    (tmp_path / "old.yaml").write_text(text, encoding="utf-8")
    found = load_recipe(str(tmp_path / "old.yaml"))
    assert found.recipe.models["language_models"].on == ("w-reference",)
    assert next(task.name for task in build_tasks(found)) == "w-reference: jsonl"
