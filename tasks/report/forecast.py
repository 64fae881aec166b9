"""The forecast of a build beside what it was, for its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from tasks.builds import BuildRecord
from tasks.forecast.record import Estimate, Forecast, find_forecast, key_of_build
from tasks.forecast.sample import bytes_of


@dataclass(frozen=True, slots=True)
class StageCost:
    """One artifact: processor seconds and bytes as forecast, and worker seconds and bytes as they were."""

    name: str
    seconds: Estimate
    worker_seconds: float
    bytes: Estimate
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Compared:
    """A forecast, and the build that it was for."""

    forecast: Forecast
    stages: tuple[StageCost, ...]

    @property
    def worker_seconds(self) -> float:
        """Of all artifacts."""
        return sum(stage.worker_seconds for stage in self.stages)

    @property
    def stored_bytes(self) -> int:
        """Of all artifacts, without the parts between their steps."""
        return sum(stage.stored_bytes for stage in self.stages)

    @property
    def forecast_bytes(self) -> Estimate:
        """Of all artifacts, without the parts between their steps."""
        return sum((stage.bytes for stage in self.stages[1:]), self.stages[0].bytes)

    @property
    def forecast_seconds(self) -> Estimate:
        """Of all artifacts, without the driver."""
        return sum((stage.seconds for stage in self.stages[1:]), self.stages[0].seconds)


def compared_with_forecast(lake: Lake, build: BuildRecord, manifests: Mapping[str, Manifest]) -> Compared | None:
    """The forecast that the lake has of a build's recipe and inputs; None without one, or with one of other stages."""
    try:
        forecast = find_forecast(lake, key_of_build(build.recipe, manifests))
    except (KeyError, Corrupt):  # builds of older versions do not list their inputs
        return None
    if forecast is None:
        return None
    expected = {stage.name: stage for stage in forecast.stages}
    if expected.keys() != manifests.keys():
        return None
    return Compared(
        forecast,
        tuple(
            StageCost(
                name,
                expected[name].seconds,
                manifest.cost.get("worker_seconds", 0.0),
                expected[name].bytes,
                bytes_of(manifest),
            )
            for name, manifest in manifests.items()
        ),
    )
