"""Which unit runs when, and how often it is tried: the same for the pool of this machine and for a cluster.

A unit is tried again when the store could not be asked or its worker died, within about a minute in all. Any other
error fails at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol

from infra.engine.units import WorkUnit
from infra.store.errors import StoreUnavailable
from infra.store.manifest import Marker

ATTEMPTS = 4
FIRST_DELAY_SECONDS = 1.0

Markers = dict[str, Marker]


class WorkerDied(Exception):
    """A worker process ended in the middle of a unit, more often than we try again."""


class WorkFailed(Exception):
    """A unit ended in an error that another try would not mend; its cause is attached."""


class Workers(Protocol):
    """Where units run. A handle is whatever stands for a unit that runs."""

    def start(self, unit: WorkUnit) -> object:
        """Start a unit."""

    def ended(self, handles: Sequence[object]) -> Sequence[object]:
        """Wait until at least one of the units has ended. Gives those that have."""

    def result(self, handle: object) -> Markers:
        """The markers of a unit that has ended.

        Raises StoreUnavailable, WorkerDied for a worker that died, and WorkFailed's cause for every other error.
        """

    def cancel(self, handle: object) -> None:
        """Cancel a unit, if that is still possible."""


def run_units(
    workers: Workers,
    at_once: int,
    units: Sequence[WorkUnit],
    progress: Callable[[int, int], None],
    wait: Callable[[float], object],
) -> list[Markers]:
    """The markers of every unit, in order, with `at_once` units started at a time. `wait` sleeps before another try.

    Raises WorkFailed, WorkerDied or StoreUnavailable; then the units that have not started are cancelled.
    """
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
                    if attempts[number] >= ATTEMPTS:
                        raise _final(units[number], error) from error
                    wait(retry_delay(attempts[number]))
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
    """1, 4 and 16 seconds, each ± 25 %: three more tries within about 20 seconds of waiting."""
    return FIRST_DELAY_SECONDS * 4 ** (attempt - 1) * random.uniform(0.75, 1.25)


def _final(unit: WorkUnit, error: Exception) -> Exception:
    return WorkerDied(f"{unit}: its worker died {ATTEMPTS} times{error}") if isinstance(error, WorkerDied) else error
