"""Units are retried when the store or a worker failed, and each retry is logged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest

from infra.engine.scheduling import ATTEMPTS, MachineDied, OutOfMemory, WorkerDied, WorkFailed, run_units
from infra.engine.units import Call, SourceUnit, WorkUnit
from infra.store.errors import StoreUnavailable
from infra.store.inputs import InputFile
from infra.store.lake import Lake


class Unreliable:
    """Workers whose units fail with these errors, one for each attempt, before they succeed."""

    def __init__(self, errors: Sequence[Exception], places: int = 2) -> None:
        self.errors = list(errors)
        self.places = places
        self.started: list[object] = []
        self.taken: list[int] = []

    def start(self, unit: WorkUnit, places: int) -> object:
        self.started.append(unit)
        self.taken.append(places)
        return len(self.started)

    def ended(self, handles: Sequence[object]) -> Sequence[object]:
        return handles[:1]

    def result(self, handle: object) -> dict[str, Any]:
        if self.errors:
            raise self.errors.pop(0)
        return {}

    def cancel(self, handle: object) -> None:
        """Nothing runs."""


def run(workers: Unreliable, *more: str, at_once: int = 2) -> list[float]:
    """Run one unit, or more; returns the waits before retries."""
    waits: list[float] = []
    units = [cast(WorkUnit, name) for name in ("shard 7 of language", *more)]
    run_units(workers, at_once, units, lambda done, total: None, waits.append)
    return waits


def test_a_retry_is_logged_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    waits = run(Unreliable([StoreUnavailable("parts/a: the store did not answer"), WorkerDied(" (exit code -9)")]))
    assert len(waits) == 2 and waits[0] < waits[1]
    first, second = caplog.messages
    assert first.startswith(
        "shard 7 of language: attempt 1 of 4 failed (parts/a: the store did not answer); next in 1 s"
    )
    assert "attempt 2 of 4 failed ((exit code -9)); next in" in second


def test_the_last_error_ends_it() -> None:
    workers = Unreliable([StoreUnavailable("away")] * ATTEMPTS)
    with pytest.raises(StoreUnavailable):
        run(workers)
    assert len(workers.started) == ATTEMPTS


def test_another_error_is_not_retried() -> None:
    workers = Unreliable([KeyError("x")])
    with pytest.raises(WorkFailed, match=r"shard 7 of language: KeyError: 'x'"):
        run(workers)
    assert len(workers.started) == 1


def test_a_unit_that_was_killed_for_memory_takes_more_places_until_it_is_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    workers = Unreliable([OutOfMemory("used 3 GiB of 1 GiB")] * 3, places=8)
    assert run(workers, "another", at_once=1) == []
    assert workers.taken == [1, 2, 4, 8, 1], "only the unit that was killed takes more"
    assert caplog.messages == [
        "shard 7 of language: its worker used 3 GiB of 1 GiB; it is run again with at most 6 others beside it",
        "shard 7 of language: its worker used 3 GiB of 1 GiB; it is run again with at most 4 others beside it",
        "shard 7 of language: its worker used 3 GiB of 1 GiB; it is run again alone",
    ]


def test_when_two_were_killed_for_memory_all_that_follow_take_more_places() -> None:
    workers = Unreliable([OutOfMemory("used much")] * 2, places=8)
    run(workers, "b", "c", "d", "e", at_once=2)
    assert workers.taken == [1, 1, 2, 2, 2, 2, 2]


def test_a_unit_that_is_killed_alone_fails_in_the_end_and_says_what_to_do() -> None:
    workers = Unreliable([OutOfMemory("used much")] * (ATTEMPTS + 1))
    with pytest.raises(
        OutOfMemory, match=r"used much, 4 times, although it ran alone\. Use a machine with more memory"
    ):
        run(workers)
    assert workers.taken == [1, *[2] * ATTEMPTS]


def test_a_record_is_sought_alone_and_not_for_the_death_of_a_machine() -> None:
    unit = SourceUnit(Lake("lake"), Call("a:b", "{}", "key"), InputFile("a.txt", 1, "0" * 64, ""))
    workers = Unreliable([MachineDied(": its machine died"), WorkerDied(": it crashed")], places=4)
    run_units(workers, 2, [unit], lambda done, total: None, lambda seconds: None)
    assert [(one.careful, places) for one, places in zip(workers.started, workers.taken, strict=True)] == [  # type: ignore[attr-defined]
        (False, 1),
        (False, 1),
        (True, 4),
    ]


def test_a_unit_fits_the_largest_machine_that_is_left() -> None:
    workers = Unreliable([OutOfMemory("used much"), OutOfMemory("used much"), MachineDied(": its machine died")], 8)
    result = workers.result

    def shrink(handle: object) -> dict[str, Any]:
        workers.places = 8 if len(workers.errors) > 1 else 2
        return result(handle)

    workers.result = shrink  # type: ignore[method-assign]
    run(workers)
    assert workers.taken == [1, 2, 4, 2]
