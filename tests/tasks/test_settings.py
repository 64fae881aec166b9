"""What people write: YAML whose words stay words, and ``KEY=VALUE``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.settings import RecipeError, load_yaml, read_mapping, split_setting


def test_words_stay_words() -> None:
    """Language labels and the field ``on`` are words: YAML 1.1 reads them as booleans and dates."""
    assert load_yaml("on: [no, yes, off, y, n, NO]") == {"on": ["no", "yes", "off", "y", "n", "NO"]}
    assert load_yaml("[2024-01-02, true, False, TRUE]") == ["2024-01-02", True, False, True]
    assert load_yaml("[1, 0.5, null, ~]") == [1, 0.5, None, None]


def test_a_label_of_a_rule_may_be_no() -> None:
    key, value = split_setting("rules.language.one_of=[en, no]")
    assert (key, value) == ("rules.language.one_of", ["en", "no"])


def test_a_value_may_hold_an_equals_sign() -> None:
    assert split_setting("sources.web.inputs=[a=b.jsonl]") == ("sources.web.inputs", ["a=b.jsonl"])
    assert split_setting("x=") == ("x", None)


@pytest.mark.parametrize(
    ("setting", "words"), [("x", "write KEY=VALUE"), ("=1", "write KEY=VALUE"), ("x=[", "not YAML")]
)
def test_what_is_no_setting_is_refused(setting: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        split_setting(setting)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "the key 'a' stands twice in line 3"),
        ("rules: [{x: 1, x: 2}]\n", "the key 'x' stands twice"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_would_be_misread_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match=words):
        read_mapping(tmp_path / "recipe.yaml", "a recipe")


def test_anchors_and_merges_still_work(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\n")
    assert read_mapping(tmp_path / "recipe.yaml", "a recipe")["more"] == {"a": 1, "b": 3}
