"""An engine that runs units one after the other in this process and measures each: for forecasts.

It is meant for a process of its own (`infra.child`): a unit that exceeds its budget ends the process.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from infra.engine.arrow import set_up_arrow
from infra.engine.scheduling import WorkerDied, WorkFailed
from infra.engine.units import PassUnit, SourceUnit, WorkUnit
from infra.engine.work import do
from infra.store.counted import READ, CountedLake
from infra.store.errors import StoreError
from infra.store.manifest import Marker


@dataclass(frozen=True, slots=True)
class Phase:
    """Units that an engine was given at once. Seconds are of processor time; requests are of all units.

    `longest` is the time of the longest unit, `reads` are the parts that were copied to this machine, and `peak` is
    the most memory that the process had, in bytes.
    """

    kind: str
    units: int
    seconds: float
    longest: float
    reads: int
    requests: int
    peak: int


class MeteredEngine:
    """Runs units in this process. `phases` are those since the last `take`; `files` are the markers of source units.

    With `careful`, each record is watched, as the engines do after the death of a worker.
    """

    def __init__(self, lake: CountedLake, cache: Path, careful: bool) -> None:
        self._lake, self._cache, self._careful = lake, cache, careful
        self._phases: list[Phase] = []
        self.files: list[tuple[str, Marker]] = []
        set_up_arrow()

    def run(self, units: Sequence[WorkUnit], progress: Callable[[int, int], None]) -> list[dict[str, Marker]]:
        """See `infra.engine.pool.Engine`. Raises WorkFailed, StoreError, and WorkerDied for a batch beyond limits."""
        found: list[dict[str, Marker]] = []
        seconds: list[float] = []
        before = self._lake.requests.copy()
        for unit in units:
            if self._careful and isinstance(unit, SourceUnit | PassUnit):
                unit = replace(unit, careful=True)
            started = processor_seconds()
            markers = self._do(unit)
            seconds.append(processor_seconds() - started)
            found.append(markers)
            if isinstance(unit, SourceUnit):
                self.files.append((unit.file.sha256, markers[unit.call.key]))
        used = self._lake.requests - before
        self._phases.append(
            Phase(
                type(units[0]).__name__ if units else "",
                len(units),
                sum(seconds),
                max(seconds, default=0.0),
                used[READ],
                used.total(),
                max((marker.peak for markers in found for marker in markers.values()), default=0),
            )
        )
        return found

    def _do(self, unit: WorkUnit) -> dict[str, Marker]:
        try:
            return do(unit, self._cache)
        except (StoreError, WorkerDied):
            raise
        except Exception as error:
            raise WorkFailed(f"{unit}: {type(error).__name__}: {error}") from error

    def take(self) -> list[Phase]:
        """The phases since the last call."""
        taken, self._phases = self._phases, []
        return taken


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
