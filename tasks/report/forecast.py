"""The forecast of a build beside what it was, for its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import Manifest
from tasks.builds import BuildRecord
from tasks.forecast.record import NOTHING, Estimate, Forecast, StageForecast, find_forecast, key_of_build
from tasks.forecast.sample import bytes_of


@dataclass(frozen=True, slots=True)
class StageCost:
    """One artifact: a forecast, and what it was. Requests and memory are None where the build did not measure them.

    `stored_bytes` are without the parts between steps, and `worker_requests` without those of the flow.
    """

    forecast: StageForecast
    worker_seconds: float
    stored_bytes: int
    worker_requests: int | None
    worker_peak: int | None


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
    def worker_requests(self) -> int | None:
        """Of all artifacts; None if one of them did not measure its own."""
        found = [stage.worker_requests for stage in self.stages if stage.worker_requests is not None]
        return sum(found) if len(found) == len(self.stages) else None

    @property
    def worker_peak(self) -> int | None:
        """The most memory of a worker; None if it was not measured for every artifact."""
        found = [stage.worker_peak for stage in self.stages if stage.worker_peak is not None]
        return max(found) if len(found) == len(self.stages) else None

    @property
    def forecast_bytes(self) -> Estimate:
        """Of all artifacts, without the parts between their steps."""
        return sum((stage.forecast.bytes for stage in self.stages), NOTHING)

    @property
    def forecast_seconds(self) -> Estimate:
        """Of all artifacts, without the driver."""
        return sum((stage.forecast.seconds for stage in self.stages), NOTHING)


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
                expected[name],
                manifest.cost.get("worker_seconds", 0.0),
                bytes_of(manifest),
                _measured(manifest, "worker_requests"),
                _measured(manifest, "worker_peak"),
            )
            for name, manifest in manifests.items()
        ),
    )


def _measured(manifest: Manifest, name: str) -> int | None:
    """Older versions did not measure it, nor does a process that a record's budget watches."""
    return int(manifest.cost.get(name, 0)) or None
