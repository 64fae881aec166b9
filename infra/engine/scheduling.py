"""Schedules and retries work units, for the local pool and for a cluster.

A unit is retried, within about a minute in all, when the store was unavailable or the worker died. Any other error
fails at once.

A unit takes places of a machine, one at first. When its worker was killed for memory, it takes twice as many, so that
fewer run beside it and it may use more memory, until it runs alone. When that happens to a second unit, all later
units of the same work take as many: then the work needs it, and not one large unit.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from infra.engine.memory import WORKER_MEMORY
from infra.engine.units import PassUnit, SourceUnit, WorkUnit
from infra.store.errors import StoreUnavailable
from infra.store.manifest import Marker

logger = logging.getLogger("millrace.engine")
ATTEMPTS = 4
FIRST_DELAY_SECONDS = 1.0

Markers = dict[str, Marker]


class WorkerDied(Exception):
    """The worker of a unit died; in an error of `run_units`, it died in every attempt."""


class OutOfMemory(WorkerDied):
    """The worker of a unit was killed because it, or the machine, used too much memory; says by whom."""


class MachineDied(WorkerDied):
    """The machine of the worker died, so the unit is not to blame."""


class WorkFailed(Exception):
    """A work unit failed with an error that a retry does not fix; the cause is attached."""


class Workers(Protocol):
    """The workers of an engine. A handle is any object that represents a started unit."""

    @property
    def places(self) -> int:
        """The places of one machine: so many units of one place can run on it at once."""

    def start(self, unit: WorkUnit, places: int) -> object:
        """Start a unit that takes so many places of one machine; returns its handle."""

    def ended(self, handles: Sequence[object]) -> Sequence[object]:
        """Wait until at least one of the units has ended. Returns the handles of those that have."""

    def result(self, handle: object) -> Markers:
        """The markers of a unit that has ended.

        Raises StoreUnavailable, OutOfMemory, WorkerDied when the worker died, and the kernel's own exception for other
        errors.
        """

    def cancel(self, handle: object) -> None:
        """Cancel a unit if it has not ended. It ends soon, and no other unit ends with it."""


def run_units(
    workers: Workers,
    at_once: int,
    units: Sequence[WorkUnit],
    progress: Callable[[int, int], None],
    wait: Callable[[float], object],
) -> list[Markers]:
    """Run units, at most `at_once` at a time; returns the markers of each, in order. `wait` sleeps before a retry.

    What a worker died of is sought, see `infra.engine.watch`. Raises WorkFailed, WorkerDied or
    StoreUnavailable, and then cancels the units that have not ended.
    """
    return _Run(workers, units, wait).run(at_once, progress)


class _Run:
    """The state of one call of `run_units`."""

    def __init__(self, workers: Workers, units: Sequence[WorkUnit], wait: Callable[[float], object]) -> None:
        self._workers, self._units, self._wait = workers, list(units), wait
        self._waiting = list(reversed(range(len(units))))
        self._attempts = dict.fromkeys(range(len(units)), 0)
        self._places: dict[int, int] = {}
        self._usual = 1
        self._large: set[int] = set()  # units that were killed for memory with the usual number of places

    def run(self, at_once: int, progress: Callable[[int, int], None]) -> list[Markers]:
        """Run the units."""
        results: dict[int, Markers] = {}
        running: dict[object, int] = {}
        progress(0, len(self._units))
        try:
            while self._waiting or running:
                while self._waiting and len(running) < at_once:
                    number = self._waiting.pop()
                    running[self._start(number)] = number
                for handle in self._workers.ended(list(running)):
                    number = running.pop(handle)
                    try:
                        results[number] = self._workers.result(handle)
                    except (StoreUnavailable, WorkerDied) as error:
                        self._again(number, error)
                    except Exception as error:
                        raise WorkFailed(f"{self._units[number]}: {type(error).__name__}: {error}") from error
                    else:
                        progress(len(results), len(self._units))
        finally:
            for handle in running:
                self._workers.cancel(handle)
        return [results[number] for number in range(len(self._units))]

    def _start(self, number: int) -> object:
        self._attempts[number] += 1
        wanted = max(self._places.get(number, 1), self._usual)
        # The largest machine of a cluster may be gone.
        self._places[number] = min(wanted, self._workers.places) if wanted > 1 else 1
        return self._workers.start(self._units[number], self._places[number])

    def _again(self, number: int, error: StoreUnavailable | WorkerDied) -> None:
        """Have a unit run again, or raise its last error."""
        unit = self._units[number]
        if isinstance(error, OutOfMemory) and self._places[number] < self._workers.places:
            self._attempts[number] -= 1
            self._with_more_places(number, error)
        elif isinstance(unit, SourceUnit | PassUnit) and not unit.careful and _may_be_a_record(error):
            # One of its records may have ended the worker: find it, and go on without it. Alone, so that no record is
            # condemned for the memory that others use.
            logger.warning("%s: its worker died%s; it is run again, record by record", unit, _cause(error))
            self._units[number] = replace(unit, careful=True)
            self._places[number] = self._workers.places
        elif self._attempts[number] >= ATTEMPTS:
            raise _final(unit, error) from error
        else:
            delay = retry_delay(self._attempts[number])
            cause = str(error).strip() or type(error).__name__
            logger.warning(
                "%s: attempt %d of %d failed (%s); next in %.0f s", unit, self._attempts[number], ATTEMPTS, cause, delay
            )
            self._wait(delay)
        self._waiting.append(number)

    def _with_more_places(self, number: int, error: OutOfMemory) -> None:
        held, most = self._places[number], self._workers.places
        self._places[number] = min(2 * held, most)
        told = ""
        if held == self._usual:
            self._large.add(number)
            if len(self._large) > 1:
                self._usual = self._places[number]
                self._large.clear()
                told = "; so is what follows, as others needed as much"
        beside = most - self._places[number]
        now = f"with at most {beside} others beside it" if beside else "alone"
        logger.warning("%s: its worker %s; it is run again %s%s", self._units[number], error, now, told)


def retry_delay(attempt: int) -> float:
    """1, 4 and 16 seconds, each ± 25 %: three retries within about 20 seconds of waiting."""
    return FIRST_DELAY_SECONDS * 4 ** (attempt - 1) * random.uniform(0.75, 1.25)


def _may_be_a_record(error: Exception) -> bool:
    """Whether a record of the unit may have ended its worker."""
    return isinstance(error, WorkerDied) and not isinstance(error, MachineDied)


def _cause(error: Exception) -> str:
    return f": it {error}" if isinstance(error, OutOfMemory) else str(error)


def _final(unit: WorkUnit, error: Exception) -> Exception:
    if isinstance(error, OutOfMemory):
        return OutOfMemory(
            f"{unit}: its worker {error}, {ATTEMPTS} times, although it ran alone. Use a machine with more memory, or "
            f"state more for a worker ({WORKER_MEMORY})"
        )
    return WorkerDied(f"{unit}: its worker died {ATTEMPTS} times{error}") if isinstance(error, WorkerDied) else error
