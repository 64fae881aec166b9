"""Units on a Ray cluster: the same work, retries and markers as in the local pool, on other machines.

Ray carries only units and markers, which are small: data goes from worker to lake. The project must be installed
on every node, in the same version.
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

from infra.engine.scheduling import Markers, WorkerDied, run_units
from infra.engine.units import WorkUnit
from infra.store.manifest import Marker


class RayCluster:
    """A Ray cluster by its address, such as ``ray://head:10001``; ``local`` starts one on this machine."""

    def __init__(self, address: str, workers: int) -> None:
        self.workers = workers
        self._address = address

    def __enter__(self) -> RayCluster:
        if self._address == "local":
            ray.init(num_cpus=self.workers, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
        else:
            ray.init(self._address, log_to_driver=False)
        # Retries are ours: Ray's own would count neither attempts nor causes.
        self._work = ray.remote(num_cpus=1, max_retries=0)(_work)
        return self

    def __exit__(self, *exception: object) -> None:
        ray.shutdown()

    def run(self, units: Sequence[WorkUnit], progress: Callable[[int, int], None]) -> list[Markers]:
        """See `infra.engine.pool.Engine`."""
        return run_units(self, 2 * self.workers, units, progress, time.sleep)

    def start(self, unit: WorkUnit) -> object:
        """See `infra.engine.scheduling.Workers`."""
        return self._work.remote(unit)

    def ended(self, handles: Sequence[Any]) -> Sequence[object]:
        """See `infra.engine.scheduling.Workers`."""
        done, _ = ray.wait(list(handles), num_returns=1)
        return list(done)

    def result(self, handle: Any) -> Markers:
        """See `infra.engine.scheduling.Workers`."""
        try:
            markers: Markers = ray.get(handle)
        except WorkerCrashedError as error:
            raise WorkerDied("") from error
        except RayTaskError as error:
            raise error.cause from error
        return markers

    def cancel(self, handle: Any) -> None:
        """See `infra.engine.scheduling.Workers`."""
        ray.cancel(handle, force=True)


def _work(unit: WorkUnit) -> dict[str, Marker]:
    from infra.engine.work import do

    return do(unit, Path(_cache().name))


@lru_cache(maxsize=1)
def _cache() -> tempfile.TemporaryDirectory[str]:
    """One folder for each worker process, so that models and parts are fetched once, and gone with the process."""
    return tempfile.TemporaryDirectory(prefix="millrace-")
