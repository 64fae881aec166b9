"""What people write: YAML whose words stay words, and ``KEY=VALUE``."""

from __future__ import annotations

import pytest

from tasks.settings import RecipeError, load_yaml, split_setting


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
