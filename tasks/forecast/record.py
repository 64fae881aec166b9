"""A forecast, stored in the lake under the key of a recipe and its inputs, so that a later build finds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from infra.store.digests import key_of
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from infra.store.schema import Component, Count, Digest, Range, Time, sound_object

Amount = Annotated[float, Range(0, 1e18)]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value that is expected, and the interval in which it should lie in about 19 of 20 cases.

    Raises ValueError for an interval that does not contain the value.
    """

    value: Amount
    low: Amount
    high: Amount

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value} is not from {self.low} to {self.high}")

    def __add__(self, other: Estimate) -> Estimate:
        # What a sample gets wrong, it gets wrong in all stages alike, so errors add up.
        return Estimate(self.value + other.value, self.low + other.low, self.high + other.high)


NOTHING = Estimate(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class StageForecast:
    """One artifact of a build: processor seconds, bytes of its parts, requests, and bytes of memory of a worker."""

    name: str
    stage: Component
    seconds: Estimate
    wall_seconds: Estimate
    bytes: Estimate
    requests: Estimate
    memory: Estimate


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a build will cost and give.

    One of `every` records was read, `read` of the `found` records of `sampled_files` of the `files`. `seconds` of
    processor time and `requests` include the driver; `bytes` are all parts in the lake, with those between steps.
    `wall_seconds` are for `workers`.
    """

    key: Digest
    recipe: str
    created: Time
    every: Count
    read: Count
    found: Count
    files: Count
    sampled_files: Count
    input_bytes: Count
    workers: Count
    stages: tuple[StageForecast, ...]
    documents: Estimate
    text_bytes: Estimate
    tokens: Estimate
    seconds: Estimate
    wall_seconds: Estimate
    bytes: Estimate
    requests: Estimate
    memory: Estimate
    notes: tuple[str, ...]


def forecast_key(recipe: Mapping[str, Any], inputs: Mapping[str, Sequence[str]]) -> str:
    """The key of a recipe, without the locations of its inputs, and the digests of the files of each source."""
    places = {
        section: {name: {**body, "inputs": []} for name, body in recipe[section].items()}
        for section in ("sources", "references")
    }
    return key_of({"recipe": {**recipe, **places}, "inputs": {name: sorted(files) for name, files in inputs.items()}})


def key_of_build(recipe: Mapping[str, Any], manifests: Mapping[str, Manifest]) -> str:
    """The key of the forecast of a build, from its recipe and the manifests of its artifacts."""
    names = [*recipe["sources"], *recipe.get("references", {})]
    return forecast_key(
        {"references": {}, **recipe},
        {name: [file["sha256"] for file in manifests[f"{name}/documents"].details["files"]] for name in names},
    )


def forecast_path(key: str) -> str:
    """The path of the forecast with that key."""
    return f"forecasts/{key}.json"


def keep(lake: Lake, forecast: Forecast) -> None:
    """Store a forecast; it replaces an older one of the same recipe and inputs."""
    lake.write_json(forecast_path(forecast.key), asdict(forecast))


def find_forecast(lake: Lake, key: str) -> Forecast | None:
    """The forecast with that key, or None. A damaged one is none, and is logged: a page does without it."""
    found = sound_object(lake, forecast_path(key), Forecast)
    return found if found is not None and found.key == key else None
