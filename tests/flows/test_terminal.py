from __future__ import annotations

import json

import hypothesis
import pytest
from hypothesis import strategies

from flows.cli.terminal import json_text, print_json

NUMBERS = strategies.one_of(strategies.integers(), strategies.floats(), strategies.booleans(), strategies.none())
TEXTS = strategies.text(strategies.one_of(strategies.characters(), strategies.characters(categories=["Cs", "Cc"])))
VALUES = strategies.recursive(
    NUMBERS | TEXTS,
    lambda inner: strategies.one_of(
        strategies.lists(inner), strategies.tuples(inner), strategies.dictionaries(TEXTS, inner)
    ),
    max_leaves=12,
)


@hypothesis.settings(deadline=None, derandomize=True)
@hypothesis.given(VALUES)
def test_whatever_a_command_prints_is_json_for_every_reader(value: object) -> None:
    text = json_text(value)
    assert text.isascii()
    assert "\n" not in text
    parsed = json.loads(text, parse_constant=pytest.fail)
    json.dumps(parsed, ensure_ascii=False).encode("utf-8")


def test_numbers_that_json_lacks_are_null_and_broken_text_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"loss": float("nan"), "rate": float("-inf"), "file": "caf\udce9", "smile": "\U0001f600", "half": 0.5})
    assert json.loads(capsys.readouterr().out) == {
        "loss": None,
        "rate": None,
        "file": "caf\ufffd",
        "smile": "\U0001f600",
        "half": 0.5,
    }
