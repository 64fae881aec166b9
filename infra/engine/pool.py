"""The local pool: single-threaded worker processes that import neither Prefect nor torch and end with the flow.

A worker that dies loses only its unit. The pool retries a unit, within about a minute, when the store was unavailable
or the worker died. Any other error fails at once.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Protocol

from pebble import ProcessExpired, ProcessPool

from infra.engine.units import WorkUnit
from infra.store.errors import StoreUnavailable
from infra.store.manifest import Marker

ATTEMPTS = 4
FIRST_DELAY_SECONDS = 1.0
_SINGLE_THREADED = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
_PR_SET_PDEATHSIG = 1


class WorkerDied(Exception):
    """The worker of a unit died in every attempt."""


class WorkFailed(Exception):
    """A work unit failed with an error that a retry does not fix; the cause is attached."""


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
            raise ValueError(f"workers is {workers}: at least one is needed")
        self.workers = workers
        self._preload = ["infra.engine.work", *preload]
        self._closing = threading.Event()

    def __enter__(self) -> LocalPool:
        self._cache = tempfile.TemporaryDirectory(prefix="millrace-")
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
        self._cache.cleanup()

    def run(self, units: Sequence[WorkUnit], progress: Callable[[int, int], None]) -> list[dict[str, Marker]]:
        """See `Engine`. When a unit fails, units that have not started are cancelled."""
        results: dict[int, dict[str, Marker]] = {}
        waiting = list(reversed(range(len(units))))
        running: dict[Future[dict[str, Marker]], int] = {}
        attempts = dict.fromkeys(range(len(units)), 0)
        cache = Path(self._cache.name)

        def submit(number: int) -> None:
            attempts[number] += 1
            running[self._pool.schedule(_work, args=[units[number], cache])] = number

        progress(0, len(units))
        try:
            while waiting or running:
                while waiting and len(running) < 2 * self.workers:
                    submit(waiting.pop())
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    number = running.pop(future)
                    try:
                        results[number] = future.result()
                    except (StoreUnavailable, ProcessExpired) as error:
                        if attempts[number] >= ATTEMPTS:
                            raise _final(units[number], error) from error
                        self._closing.wait(retry_delay(attempts[number]))
                        submit(number)
                    except Exception as error:
                        raise WorkFailed(f"{units[number]}: {type(error).__name__}: {error}") from error
                    else:
                        progress(len(results), len(units))
        finally:
            for future in running:
                future.cancel()
        return [results[number] for number in range(len(units))]


def retry_delay(attempt: int) -> float:
    """1, 4 and 16 seconds, each ± 25 %: three retries within about 20 seconds of waiting."""
    return FIRST_DELAY_SECONDS * 4 ** (attempt - 1) * random.uniform(0.75, 1.25)


def _final(unit: WorkUnit, error: Exception) -> Exception:
    if isinstance(error, ProcessExpired):
        return WorkerDied(
            f"{unit}: its worker died {ATTEMPTS} times (exit code {error.exitcode}). "
            "If that was SIGKILL (-9), the machine ran out of memory: use fewer workers."
        )
    return error


def _work(unit: WorkUnit, cache: Path) -> dict[str, Marker]:
    from infra.engine.work import do

    return do(unit, cache)


def _start_worker(flow: int) -> None:
    """Initialize a worker: end with the flow process, ignore Ctrl-C, which the flow handles, and use one thread."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not os.path.exists(f"/proc/{flow}"):
        os._exit(1)
    import pyarrow

    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)


def flatten(markers: Iterable[dict[str, Marker]]) -> dict[str, Marker]:
    """The markers of several units by key."""
    return {key: marker for found in markers for key, marker in found.items()}
