"""Runs work units on a Ray cluster, with the same retries and markers as the local pool.

Ray transfers only units and markers, which are small; workers read and write data in the lake. The same version of
the project must be installed on every node.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError, WorkerCrashedError

from infra.engine.pool import ATTEMPTS, WorkerDied, WorkFailed, retry_delay
from infra.engine.units import WorkUnit
from infra.store.errors import StoreUnavailable
from infra.store.manifest import Marker


class RayCluster:
    """A Ray cluster at an address such as ``ray://head:10001``; ``local`` starts one on this machine."""

    def __init__(self, address: str, workers: int) -> None:
        self.workers = workers
        self._address = address

    def __enter__(self) -> RayCluster:
        if self._address == "local":
            ray.init(num_cpus=self.workers, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
        else:
            ray.init(self._address, log_to_driver=False)
        # `run` retries: Ray's own retries would neither limit the attempts nor distinguish the causes.
        self._work = ray.remote(num_cpus=1, max_retries=0)(_work)
        return self

    def __exit__(self, *exception: object) -> None:
        ray.shutdown()

    def run(self, units: Sequence[WorkUnit], progress: Callable[[int, int], None]) -> list[dict[str, Marker]]:
        """See `infra.engine.pool.Engine`."""
        results: dict[int, dict[str, Marker]] = {}
        attempts = dict.fromkeys(range(len(units)), 0)
        waiting = list(reversed(range(len(units))))
        running: dict[Any, int] = {}
        progress(0, len(units))
        try:
            while waiting or running:
                while waiting and len(running) < 2 * self.workers:
                    number = waiting.pop()
                    attempts[number] += 1
                    running[self._work.remote(units[number])] = number
                [reference], _ = ray.wait(list(running), num_returns=1)
                number = running.pop(reference)
                try:
                    results[number] = ray.get(reference)
                    progress(len(results), len(units))
                except (RayTaskError, WorkerCrashedError) as error:
                    cause = error.cause if isinstance(error, RayTaskError) else error
                    if not isinstance(cause, (StoreUnavailable, WorkerCrashedError)):
                        message = f"{units[number]}: {type(cause).__name__}: {cause}"
                        raise WorkFailed(message) from error
                    if attempts[number] >= ATTEMPTS:
                        if isinstance(cause, StoreUnavailable):
                            raise cause from error
                        raise WorkerDied(f"{units[number]}: its worker died {ATTEMPTS} times") from error
                    time.sleep(retry_delay(attempts[number]))
                    waiting.append(number)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
        return [results[number] for number in range(len(units))]


def _work(unit: WorkUnit) -> dict[str, Marker]:
    from infra.engine.work import do

    return do(unit, Path(_cache().name))


@lru_cache(maxsize=1)
def _cache() -> tempfile.TemporaryDirectory[str]:
    """The cache folder of this worker process: models and parts are fetched once and deleted when it ends."""
    return tempfile.TemporaryDirectory(prefix="millrace-")
