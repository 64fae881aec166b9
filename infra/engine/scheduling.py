"""Schedules and retries work units, for the local pool and for a cluster.

A unit is retried, within about a minute in all, when the store was unavailable or the worker died. Any other error
fails at once.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from infra.engine.units import PassUnit, SourceUnit, WorkUnit
from infra.store.errors import StoreUnavailable
from infra.store.manifest import Marker

logger = logging.getLogger("millrace.engine")
ATTEMPTS = 4
FIRST_DELAY_SECONDS = 1.0

Markers = dict[str, Marker]


class WorkerDied(Exception):
    """The worker of a unit died; in an error of `run_units`, it died in every attempt."""


class WorkFailed(Exception):
    """A work unit failed with an error that a retry does not fix; the cause is attached."""


class Workers(Protocol):
    """The workers of an engine. A handle is any object that represents a started unit."""

    def start(self, unit: WorkUnit) -> object:
        """Start a unit; returns its handle."""

    def ended(self, handles: Sequence[object]) -> Sequence[object]:
        """Wait until at least one of the units has ended. Returns the handles of those that have."""

    def result(self, handle: object) -> Markers:
        """The markers of a unit that has ended.

        Raises StoreUnavailable, WorkerDied when the worker died, and the kernel's own exception for other errors.
        """

    def cancel(self, handle: object) -> None:
        """Cancel a unit if it has not ended."""


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
    units = list(units)
    results: dict[int, Markers] = {}
    attempts = dict.fromkeys(range(len(units)), 0)
    waiting = list(reversed(range(len(units))))
    running: dict[object, int] = {}
    progress(0, len(units))
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                number = waiting.pop()
                attempts[number] += 1
                running[workers.start(units[number])] = number
            for handle in workers.ended(list(running)):
                number = running.pop(handle)
                try:
                    results[number] = workers.result(handle)
                except (StoreUnavailable, WorkerDied) as error:
                    unit = units[number]
                    if isinstance(error, WorkerDied) and isinstance(unit, SourceUnit | PassUnit) and not unit.careful:
                        # One of its records may have ended the worker: find it, and go on without it.
                        logger.warning("%s: its worker died%s; it is run again, record by record", unit, error)
                        units[number] = replace(unit, careful=True)
                        waiting.append(number)
                        continue
                    if attempts[number] >= ATTEMPTS:
                        raise _final(units[number], error) from error
                    delay = retry_delay(attempts[number])
                    cause = str(error).strip() or type(error).__name__
                    logger.warning(
                        "%s: attempt %d of %d failed (%s); next in %.0f s",
                        *(units[number], attempts[number], ATTEMPTS, cause, delay),
                    )
                    wait(delay)
                    waiting.append(number)
                except Exception as error:
                    raise WorkFailed(f"{units[number]}: {type(error).__name__}: {error}") from error
                else:
                    progress(len(results), len(units))
    finally:
        for handle in running:
            workers.cancel(handle)
    return [results[number] for number in range(len(units))]


def retry_delay(attempt: int) -> float:
    """1, 4 and 16 seconds, each ± 25 %: three retries within about 20 seconds of waiting."""
    return FIRST_DELAY_SECONDS * 4 ** (attempt - 1) * random.uniform(0.75, 1.25)


def _final(unit: WorkUnit, error: Exception) -> Exception:
    return WorkerDied(f"{unit}: its worker died {ATTEMPTS} times{error}") if isinstance(error, WorkerDied) else error
