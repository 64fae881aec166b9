"""Forecasts in a lake: stored, found, and never trusted."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from typing import Any

import pytest

from infra.store.lake import Lake
from tasks.forecast.record import Estimate, Forecast, StageForecast, find_forecast, forecast_key, forecast_path, keep

KEY = "0a" * 32


def forecast(key: str = KEY) -> Forecast:
    some = Estimate(2.0, 1.0, 3.0)
    stage = StageForecast("web/documents", "jsonl", some, some, some, some, some)
    return Forecast(
        key=key,
        recipe="small",
        created="2026-11-29T00:00:00+00:00",
        every=20,
        read=5,
        found=100,
        files=1,
        sampled_files=1,
        input_bytes=1000,
        workers=2,
        stages=(stage,),
        **dict.fromkeys(
            (*("documents", "text_bytes", "tokens", "seconds", "wall_seconds", "bytes", "requests", "memory"),),
            some,
        ),
        notes=("a note",),
    )


def test_it_is_found_by_its_key(lake: Lake) -> None:
    assert find_forecast(lake, KEY) is None
    keep(lake, forecast())
    assert find_forecast(lake, KEY) == forecast()
    assert find_forecast(lake, "0b" * 32) is None


def changed(change: dict[str, Any]) -> dict[str, Any]:
    value = json.loads(json.dumps(asdict(forecast())))
    return {**value, **copy.deepcopy(change)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b'{"key": 1}',
        changed({"key": "0b" * 32}),
        changed({"key": "../../x"}),
        changed({"more": 1}),
        changed({"tokens": {"value": 5.0, "low": 6.0, "high": 7.0}}),
        changed({"tokens": {"value": -1.0, "low": -2.0, "high": 0.0}}),
        changed({"tokens": {"value": 1e300, "low": 1.0, "high": 1e300}}),
        changed({"tokens": "<script>"}),
        changed({"created": "yesterday"}),
        changed({"stages": [{"name": "x"}]}),
        changed({"read": -1}),
    ],
)
def test_a_hostile_forecast_is_none(lake: Lake, content: Any) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    lake.write(forecast_path(KEY), data)
    assert find_forecast(lake, KEY) is None


def test_the_key_is_of_recipe_and_contents_and_not_of_places() -> None:
    recipe = {"name": "a", "sources": {"web": {"inputs": ["one"], "steps": []}}, "references": {}}
    moved = {"name": "a", "sources": {"web": {"inputs": ["two", "three"], "steps": []}}, "references": {}}
    key = forecast_key(recipe, {"web": ["1", "2"]})
    assert forecast_key(moved, {"web": ["2", "1"]}) == key
    assert forecast_key(recipe, {"web": ["1", "3"]}) != key
    assert forecast_key({**recipe, "name": "b"}, {"web": ["1", "2"]}) != key
