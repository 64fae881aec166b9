"""The local pool: single-threaded worker processes that import neither Prefect nor torch and end with the flow.

A worker that dies loses only its unit. The pool retries a unit, within about a minute, when the store was unavailable
or the worker died. Any other error fails at once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path
from typing import Any, Protocol

from pebble import ProcessExpired, ProcessPool

from infra.budget import cause_of_death
from infra.engine.scheduling import Markers, WorkerDied, run_units
from infra.engine.units import WorkUnit
from infra.guard import die_with_parent
from infra.scratch import scratch_folder
from infra.store.manifest import Marker

_SINGLE_THREADED = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


class Engine(Protocol):
    """Runs work units."""

    def run(self, units: Sequence[WorkUnit], progress: Callable[[int, int], None]) -> list[dict[str, Marker]]:
        """Run the units; returns the markers of each, in order. Calls ``progress(done, total)`` after each unit.

        Raises WorkFailed, WorkerDied or StoreUnavailable.
        """


class LocalPool:
    """Worker processes on this machine, shared by all stages of a flow. Use it in a ``with`` block.

    `preload` names modules that every worker needs; they are imported once, before the workers are forked.
    """

    def __init__(self, workers: int, preload: Sequence[str] = ()) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}: use at least one")
        self.workers = workers
        self._preload = ["infra.engine.work", *preload]
        self._closing = threading.Event()

    def __enter__(self) -> LocalPool:
        self._scratch = scratch_folder()
        self._cache = self._scratch.__enter__()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(self._preload)
        # The forkserver and its children inherit the environment at the start of the forkserver.
        for name in _SINGLE_THREADED:
            os.environ.setdefault(name, "1")
        self._pool = ProcessPool(
            max_workers=self.workers, context=context, initializer=_start_worker, initargs=(os.getpid(),)
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.set()
        self._pool.stop()
        self._pool.join()
        self._scratch.__exit__(None, None, None)

    def run(self, units: Sequence[WorkUnit], progress: Callable[[int, int], None]) -> list[Markers]:
        """See `Engine`."""
        return run_units(self, 2 * self.workers, units, progress, self._closing.wait)

    def start(self, unit: WorkUnit) -> object:
        """See `infra.engine.scheduling.Workers`."""
        return self._pool.schedule(_work, args=[unit, self._cache])

    def ended(self, handles: Sequence[Any]) -> Sequence[object]:
        """See `infra.engine.scheduling.Workers`."""
        return list(wait(handles, return_when=FIRST_COMPLETED).done)

    def result(self, handle: Any) -> Markers:
        """See `infra.engine.scheduling.Workers`."""
        try:
            markers: Markers = handle.result()
        except ProcessExpired as error:
            hint = ". Use fewer workers, if the machine ran out of memory" if error.exitcode == -signal.SIGKILL else ""
            raise WorkerDied(f": it {cause_of_death(error.exitcode)}{hint}") from error
        return markers

    def cancel(self, handle: Any) -> None:
        """See `infra.engine.scheduling.Workers`."""
        handle.cancel()


def _work(unit: WorkUnit, cache: Path) -> dict[str, Marker]:
    from infra.engine.work import do

    return do(unit, cache)


def _start_worker(flow: int) -> None:
    """Initialize a worker: end with the flow process, ignore Ctrl-C, which the flow handles, and use one thread."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not os.path.exists(f"/proc/{flow}"):
        os._exit(1)
    import pyarrow

    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)


def flatten(markers: Iterable[dict[str, Marker]]) -> dict[str, Marker]:
    """The markers of several units by key."""
    return {key: marker for found in markers for key, marker in found.items()}
