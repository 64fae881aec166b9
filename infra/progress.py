"""Reports the progress of stages: to listeners such as the terminal, and as progress artifacts in Prefect."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext
from prefect.exceptions import PrefectException

Listener = Callable[[str, int, int, str], None]

# An update takes some 10 ms of processor time, most of it of the server: with more of them, long builds pay for these.
SECONDS_BETWEEN_UPDATES = 10.0
_listeners: list[Listener] = []
_logger = logging.getLogger("millrace.progress")


@contextmanager
def watched_by(listener: Listener) -> Iterator[None]:
    """Within the block, call ``listener(label, done, total, note)`` for the progress of every stage."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class ProgressReports:
    """Forwards progress to listeners at once, and to Prefect every ten seconds and at the end of each step.

    A `note` says more than the numbers, such as the loss of a training.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._artifacts: dict[tuple[UUID, str], UUID] = {}
        self._updated: dict[tuple[UUID, str], float] = {}

    def __call__(self, label: str, done: int, total: int, note: str = "") -> None:
        for listener in list(_listeners):
            listener(label, done, total, note)
        context = TaskRunContext.get()
        if context is None or total < 2:
            return
        key = (context.task_run.id, label)
        now = time.monotonic()
        with self._lock:
            if done < total and now - self._updated.get(key, float("-inf")) < SECONDS_BETWEEN_UPDATES:
                return
            self._updated[key] = now
            try:
                self._publish(key, 100.0 * done / total)
            except (httpx.HTTPError, PrefectException) as error:
                # A temporarily unreachable server must not fail the task whose progress is reported.
                _logger.warning("could not publish the progress of %s: %s", label, error)

    def _publish(self, key: tuple[UUID, str], percent: float) -> None:
        artifact = self._artifacts.get(key)
        if artifact is None:
            created = create_progress_artifact(progress=percent, description=key[1])
            assert isinstance(created, UUID)
            self._artifacts[key] = created
        else:
            update_progress_artifact(artifact_id=artifact, progress=percent)


report_progress = ProgressReports()
