"""What people write: YAML whose words stay words, and ``KEY=VALUE``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

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
        ("a: " + "[" * 5000 + "]" * 5000, "nested more than 50 levels"),
    ],
)
def test_a_file_that_would_be_misread_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match=words):
        read_mapping(tmp_path / "recipe.yaml", "a recipe")


def test_anchors_and_merges_still_work(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\n")
    assert read_mapping(tmp_path / "recipe.yaml", "a recipe")["more"] == {"a": 1, "b": 3}


BOMBS = {
    "merge keys": "a0: &a0 {k: 1}\n" + "".join(f"a{n + 1}: &a{n + 1} {{<<: [{f'*a{n}, ' * 9}]}}\n" for n in range(40)),
    "aliases": "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{f'*a{n}, ' * 9}]\n" for n in range(40)),
    "wide aliases": "a: &a [" + "x, " * 9000 + "]\nb: [" + "*a, " * 9000 + "]\n",
    "a value in itself": "a: &a [*a]\n",
    "a mapping in itself": "a: &a {b: *a}\n",
    "a merge of itself": "a: &a {<<: *a}\n",
    "depth": "[" * 3000 + "]" * 3000,
    "some depth": "a: " + "[" * 60 + "]" * 60,
    "depth without an end": "{a: " * 20_000,
    "length": "a: " + "x" * 300_000,
    "a number to the base 60": "a: 1" + ":59" * 60_000,
    "a decimal number": "a: " + "1" * 5000,
    "a hexadecimal number": "a: 0x" + "f" * 5000,
    "a fraction to the base 60": "a: 1" + ":59" * 60_000 + ".5",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_text_that_becomes_large_is_refused_without_being_written_out(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMBS[name])
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        with pytest.raises(RecipeError, match=r"bomb\.yaml is not YAML: .*"):
            read_mapping(path, "a recipe")
    finally:
        sys.setprofile(None)
    # The parser makes up to 30 calls for a character.
    assert calls < 40 * len(BOMBS[name]) + 10_000
    with pytest.raises(RecipeError, match=r"(?s)--set x=.*the value is not YAML") as refused:
        split_setting(f"x={BOMBS[name].removeprefix('a: ')}")
    assert len(str(refused.value)) < 500


def test_the_work_for_keys_is_linear(tmp_path: Path) -> None:
    text = "".join(f"key{number}: 1\n" for number in range(10_000))
    assert len(load_yaml(text)) == 10_000
    with pytest.raises(yaml.YAMLError, match="'key77' stands twice"):
        load_yaml(text + "key77: 2\n")


def test_aliases_and_merge_keys_are_allowed() -> None:
    assert load_yaml("a: &a {k: 1, l: 2}\nb: {<<: *a, k: 3}\nc: [*a, *a]\n") == {
        "a": {"k": 1, "l": 2},
        "b": {"k": 3, "l": 2},
        "c": [{"k": 1, "l": 2}] * 2,
    }
    assert load_yaml("[1, -2.5, 1e3, 0x1f, .inf]")[:2] == [1, -2.5]
    assert load_yaml("") is None
