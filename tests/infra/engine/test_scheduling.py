"""Units are retried when the store or a worker failed, and each retry is logged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest

from infra.engine.scheduling import ATTEMPTS, WorkerDied, WorkFailed, run_units
from infra.engine.units import WorkUnit
from infra.store.errors import StoreUnavailable


class Unreliable:
    """Workers whose units fail with these errors, one for each attempt, before they succeed."""

    def __init__(self, errors: Sequence[Exception]) -> None:
        self.errors = list(errors)
        self.started: list[object] = []

    def start(self, unit: WorkUnit) -> object:
        self.started.append(unit)
        return len(self.started)

    def ended(self, handles: Sequence[object]) -> Sequence[object]:
        return handles[:1]

    def result(self, handle: object) -> dict[str, Any]:
        if self.errors:
            raise self.errors.pop(0)
        return {}

    def cancel(self, handle: object) -> None:
        """Nothing runs."""


def run(workers: Unreliable) -> list[float]:
    """Run one unit; returns the waits before its retries."""
    waits: list[float] = []
    run_units(workers, 2, [cast(WorkUnit, "shard 7 of language")], lambda done, total: None, waits.append)
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
