"""Overrides of a configuration: which fields are set, what they may be, and how nested values are merged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pydantic
import pytest

from infra.stage import StageConfig
from model.configuration import about
from tasks.overrides import overrides_of, request_of
from tasks.settings import RecipeError, merged, nested_settings, problems_of


@dataclass(frozen=True)
class Inner:
    """A nested configuration."""

    rate: float = field(metadata=about("A rate.", gt=0, le=1))
    pair: tuple[float, float] = (0.9, 0.95)


@dataclass(frozen=True)
class Outer:
    """A configuration."""

    inner: Inner
    steps: int = field(metadata=about("Steps.", ge=1))
    kind: Literal["a", "b"] = "a"
    other: Inner | None = None
    flag: bool = False


@dataclass(frozen=True)
class Another:
    """A second one, with a field of its own."""

    steps: float = 1.0
    words: str = ""


Overrides = overrides_of(Outer)


def test_only_what_is_named_is_set() -> None:
    given = {"steps": 3, "inner": {"pair": [0, 1]}, "other": {"rate": 1}, "flag": False}
    assert Overrides.model_validate(given).values() == {
        "inner": {"pair": [0.0, 1.0]},
        "steps": 3,
        "other": {"rate": 1.0},
        "flag": False,
    }
    assert Overrides.model_validate({}).values() == {}


def test_null_is_a_value_where_the_configuration_allows_it() -> None:
    assert Overrides.model_validate({"other": None, "steps": None, "inner": {"rate": None}}).values() == {
        "inner": {},
        "other": None,
    }


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"step": 3}, "value: there is no step; there are flag, inner, kind, other, steps"),
        ({"inner": {"rates": 3}}, "inner: there is no rates; there are pair, rate"),
        ({"inner": 3}, "inner: expected a section with pair, rate, found 3"),
        ({"steps": 0}, "steps: Input should be greater than or equal to 1"),
        ({"steps": "3"}, "steps: Input should be a valid integer"),
        ({"steps": True}, "steps: Input should be a valid integer"),
        ({"inner": {"rate": 0}}, "inner.rate: Input should be greater than 0"),
        ({"inner": {"rate": float("nan")}}, "inner.rate: Input should be a finite number"),
        ({"inner": {"pair": [1]}}, "inner.pair.1: Field required"),
        ({"kind": "c"}, "kind: Input should be 'a' or 'b'"),
        ({"flag": 1}, "flag: Input should be a valid boolean"),
    ],
)
def test_wrong_values_are_named(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(pydantic.ValidationError) as raised:
        Overrides.model_validate(given)
    assert problem in problems_of(raised.value)


def test_the_schema_has_descriptions_and_limits_and_no_defaults() -> None:
    schema = Overrides.model_json_schema()
    assert "required" not in schema and schema["additionalProperties"] is False
    assert schema["properties"]["steps"] == {"description": "Steps.", "minimum": 1, "title": "Steps", "type": "integer"}
    rate = schema["$defs"]["InnerOverrides"]["properties"]["rate"]
    assert (rate["exclusiveMinimum"], rate["maximum"]) == (0, 1)
    assert all("default" not in body for body in schema["properties"].values())


def test_of_several_configurations_the_fields_of_all() -> None:
    both = overrides_of(Outer, Another)
    assert list(both.model_fields) == ["inner", "steps", "kind", "other", "flag", "words"]
    assert both.model_validate({"words": "x", "steps": 2}).values() == {"steps": 2, "words": "x"}


def test_a_request_has_a_dataclass_s_fields_with_other_defaults() -> None:
    request = request_of(Another, StageConfig, words="two")
    assert request().model_dump() == {"steps": 1.0, "words": "two"}
    assert overrides_of(request).model_validate({"steps": 2}).values() == {"steps": 2.0}


def test_settings_are_nested_values() -> None:
    settings = ["training.steps=100", "training.schedule.decay=100", "training.spikes=null", "seed=7"]
    assert nested_settings(settings) == {
        "training": {"steps": 100, "schedule": {"decay": 100}, "spikes": None},
        "seed": 7,
    }
    assert nested_settings(["a.b=1", "a.b=2"]) == {"a": {"b": 2}}
    with pytest.raises(RecipeError, match=r"another setting already gives a part of a\.b a value"):
        nested_settings(["a=1", "a.b=2"])


def test_merging_keeps_what_is_not_named() -> None:
    values = {"a": {"b": 1, "c": [1, 2]}, "d": None, "e": {"f": 1}}
    changes = {"a": {"c": [3]}, "d": {"g": 1}, "e": None}
    assert merged(values, changes) == {"a": {"b": 1, "c": [3]}, "d": {"g": 1}, "e": None}
    assert values["a"] == {"b": 1, "c": [1, 2]}, "the values themselves stay"
