"""Runs work units on a Ray cluster, with the same retries and markers as the local pool.

Ray transfers only units and markers, which are small; workers read and write data in the lake. The same version of
the project must be installed on every node. A place of a machine is one of its CPUs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

from infra.engine.memory import stated_bytes
from infra.engine.scheduling import MachineDied, Markers, OutOfMemory, WorkerDied, run_units
from infra.engine.units import WorkUnit
from infra.scratch import scratch_folder
from infra.store.manifest import Marker

_LOOK_SECONDS = 5.0


class RayCluster:
    """A Ray cluster at an address such as ``ray://head:10001``; ``local`` starts one on this machine.

    Ray ends workers when the memory of their machine runs out. When MILLRACE_WORKER_MEMORY states how much a worker
    may need, Ray also runs no more of them on a machine than fit its memory. Raises WrongLimit.
    """

    def __init__(self, address: str, workers: int) -> None:
        self.workers = workers
        self._address = address
        self._memory = stated_bytes()
        self._places: dict[object, int] = {}

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

    @property
    def places(self) -> int:
        """The CPUs of the largest machine that the cluster has now."""
        return max((int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]), default=0) or 1

    def run(self, units: Sequence[WorkUnit], progress: Callable[[int, int], None]) -> list[Markers]:
        """See `infra.engine.pool.Engine`."""
        return run_units(self, 2 * self.workers, units, progress, time.sleep)

    def start(self, unit: WorkUnit, places: int) -> object:
        """See `infra.engine.scheduling.Workers`."""
        options: dict[str, Any] = {"num_cpus": places}
        if self._memory is not None:
            options["memory"] = places * self._memory
        handle = self._work.options(**options).remote(unit)
        self._places[handle] = places
        return handle

    def ended(self, handles: Sequence[Any]) -> Sequence[object]:
        """See `infra.engine.scheduling.Workers`. A unit for which no machine is large enough any more has ended."""
        while True:
            done, _ = ray.wait(list(handles), num_returns=1, timeout=_LOOK_SECONDS)
            if done := done or [handle for handle in handles if 1 < self._places[handle] > self.places]:
                return done

    def result(self, handle: Any) -> Markers:
        """See `infra.engine.scheduling.Workers`."""
        places = self._places.pop(handle)
        if not ray.wait([handle], timeout=0)[0]:
            ray.cancel(handle, force=True)
            raise MachineDied(f": no machine has {places} CPUs any more")
        try:
            markers: Markers = ray.get(handle)
        except OutOfMemoryError as error:
            raise OutOfMemory("was ended by Ray because the memory of its machine ran out") from error
        except (NodeDiedError, LocalRayletDiedError, ObjectLostError) as error:
            raise MachineDied(": its machine died") from error
        except (WorkerCrashedError, RayActorError) as error:
            raise WorkerDied("") from error
        except RayTaskError as error:
            raise error.cause from error
        return markers

    def cancel(self, handle: Any) -> None:
        """See `infra.engine.scheduling.Workers`. Ray ends its worker."""
        self._places.pop(handle, None)
        ray.cancel(handle, force=True)


def _work(unit: WorkUnit) -> dict[str, Marker]:
    from infra.engine.work import do

    return do(unit, _cache()[1])


@lru_cache(maxsize=1)
def _cache() -> tuple[contextlib.ExitStack, Path]:
    """The cache folder of this worker process: models and parts are fetched once and deleted when it ends.

    The folder of a worker that was killed is deleted by the next one on its machine. Sets up the process, too.
    """
    from infra.engine.arrow import set_up_arrow

    set_up_arrow()
    stack = contextlib.ExitStack()
    return stack, stack.enter_context(scratch_folder("ray-"))
