"""The local pool: single-threaded worker processes that import neither Prefect nor torch and end with the flow.

A worker that dies loses only its unit. The pool retries a unit, within about a minute, when the store was unavailable
or the worker died. Any other error fails at once.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
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
_LOOK_SECONDS = 2.0
_MOST_LOOKS = 3


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
        self._opening = threading.Lock()
        self._numbers = itertools.count()
        self._notes: dict[Any, _Note] = {}

    def __enter__(self) -> LocalPool:
        self._scratch = scratch_folder()
        self._cache = self._scratch.__enter__()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(self._preload)
        # The forkserver and its children inherit the environment at the start of the forkserver.
        for name in _SINGLE_THREADED:
            os.environ.setdefault(name, "1")
        self._pool = self._open()
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
        note = _Note(self._cache / f"unit-{next(self._numbers)}")
        try:
            handle = self._pool.schedule(_work, args=[unit, self._cache, note])
        except RuntimeError:  # BrokenProcessPool is one
            self._reopen(self._pool)
            handle = self._pool.schedule(_work, args=[unit, self._cache, note])
        self._notes[handle] = note
        return handle

    def ended(self, handles: Sequence[Any]) -> Sequence[object]:
        """See `infra.engine.scheduling.Workers`."""
        while True:
            done = wait(handles, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED).done
            if done := done or {handle for handle in handles if self._notes[handle].is_abandoned()}:
                return list(done)

    def result(self, handle: Any) -> Markers:
        """See `infra.engine.scheduling.Workers`."""
        note = self._notes.pop(handle)
        note.forget()
        if not handle.done():
            raise WorkerDied(": it ended before it was known to work")
        try:
            markers: Markers = handle.result()
        except ProcessExpired as error:
            hint = ". Use fewer workers, if the machine ran out of memory" if error.exitcode == -signal.SIGKILL else ""
            raise WorkerDied(f": it {cause_of_death(error.exitcode)}{hint}") from error
        except BrokenProcessPool as error:
            self._reopen(self._pool)
            raise WorkerDied(": all workers ended") from error
        return markers

    def cancel(self, handle: Any) -> None:
        """See `infra.engine.scheduling.Workers`. A unit that runs goes on: its marker serves the next attempt.

        Pebble 5 would kill the worker. If that has taken another unit by then, the other unit would never end.
        """
        self._notes.pop(handle).cancel()

    def _open(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self.workers, context=self._context, initializer=_start_worker, initargs=(os.getpid(),)
        )

    def _reopen(self, broken: ProcessPool) -> None:
        """Replace a pool that gave up, as Pebble does when a worker dies while none is known to work."""
        with self._opening:
            if self._pool is broken and not self._closing.is_set():
                broken.stop()
                broken.join()
                self._pool = self._open()


class _Note:
    """A file in which the worker of a unit writes its process number: Pebble can miss the death of a worker.

    It learns which worker has a unit from a message. When the worker dies before the message is read, nothing ends the
    unit.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gone = 0

    def begin(self) -> bool:
        """Write this process's number. Returns False if the unit is cancelled."""
        if self._path.with_suffix(".cancelled").exists():
            return False
        self._path.write_text(str(os.getpid()), encoding="ascii")
        return True

    def cancel(self) -> None:
        """A worker that takes the unit from now on does nothing."""
        self._path.with_suffix(".cancelled").touch()

    def is_abandoned(self) -> bool:
        """Whether its worker has been gone for some looks, and so its end will not be reported."""
        try:
            held = self._path.read_text(encoding="ascii")
        except FileNotFoundError:
            return False
        self._gone = self._gone + 1 if held and not os.path.exists(f"/proc/{held}") else 0
        return self._gone > _MOST_LOOKS

    def forget(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)


def _work(unit: WorkUnit, cache: Path, note: _Note) -> dict[str, Marker]:
    from infra.engine.work import do

    return do(unit, cache) if note.begin() else {}


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
