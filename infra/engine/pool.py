"""The local pool: single-threaded worker processes that import neither Prefect nor torch and end with the flow.

A worker that dies loses only its unit. One thread gives units to workers, reads their answers, and ends the worker
that uses too much memory. Retries are those of `infra.engine.scheduling`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import selectors
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from infra.budget import cause_of_death
from infra.engine.memory import memory_limit
from infra.engine.scheduling import Markers, OutOfMemory, WorkerDied, run_units
from infra.engine.units import WorkUnit
from infra.engine.workers import Worker
from infra.scratch import scratch_folder
from infra.store.manifest import Marker

_SINGLE_THREADED = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
_LOOK_SECONDS = 0.5
# Most units end within this time, and their markers then serve the next attempt.
_CANCEL_SECONDS = 5.0
_START_WAITS = (0.0, 0.05, 0.2, 0.8)  # seconds


class Engine(Protocol):
    """Runs work units."""

    def run(self, units: Sequence[WorkUnit], progress: Callable[[int, int], None]) -> list[dict[str, Marker]]:
        """Run the units; returns the markers of each, in order. Calls ``progress(done, total)`` after each unit.

        Raises WorkFailed, WorkerDied or StoreUnavailable.
        """


class LocalPool:
    """Worker processes on this machine, shared by all stages of a flow. Use it in a ``with`` block.

    `preload` names modules that every worker needs; they are imported once, before the workers are forked. Raises
    WrongLimit when MILLRACE_WORKER_MEMORY is no limit of memory.
    """

    def __init__(self, workers: int, preload: Sequence[str] = ()) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}: use at least one")
        self.workers = self.places = workers
        self._limit = memory_limit(workers)
        self._preload = ["infra.engine.workers", "infra.engine.work", *preload]
        self._queue: deque[_Task] = deque()
        self._idle: list[Worker] = []
        self._busy: dict[Worker, _Task] = {}
        self._looked = 0.0
        self._closing = threading.Event()
        # Guards the queue and the ends of units; told when a unit ends.
        self._change = threading.Condition()
        self._broken: BaseException | None = None

    def __enter__(self) -> LocalPool:
        self._scratch = scratch_folder()
        self._cache = self._scratch.__enter__()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(self._preload)
        # The forkserver and its children inherit the environment at the start of the forkserver.
        for name in _SINGLE_THREADED:
            os.environ.setdefault(name, "1")
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="millrace-pool", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.set()
        self._nudge()
        self._thread.join()
        self._selector.close()
        for descriptor in (self._woken, self._wake):
            os.close(descriptor)
        self._scratch.__exit__(None, None, None)

    def run(self, units: Sequence[WorkUnit], progress: Callable[[int, int], None]) -> list[Markers]:
        """See `Engine`."""
        return run_units(self, 2 * self.workers, units, progress, self._closing.wait)

    def start(self, unit: WorkUnit, places: int) -> object:
        """See `infra.engine.scheduling.Workers`."""
        task = _Task(unit, places)
        with self._change:
            if self._broken is not None:
                raise RuntimeError("the pool of workers has failed") from self._broken
            self._queue.append(task)
            waits = self._free < self._queue[0].places
        if not waits:
            self._nudge()
        return task

    def ended(self, handles: Sequence[Any]) -> Sequence[object]:
        """See `infra.engine.scheduling.Workers`."""
        with self._change:
            while not (done := [handle for handle in handles if handle.has_ended]):
                self._change.wait()
        return done

    def result(self, handle: Any) -> Markers:
        """See `infra.engine.scheduling.Workers`."""
        if handle.error is not None:
            raise handle.error
        markers: Markers = handle.markers
        return markers

    def cancel(self, handle: Any) -> None:
        """See `infra.engine.scheduling.Workers`. A unit that runs has some seconds to end, then its worker ends."""
        with self._change:
            handle.ends_at = time.monotonic() + _CANCEL_SECONDS
            if handle in self._queue:
                self._queue.remove(handle)
        self._nudge()

    @property
    def _free(self) -> int:
        return self.workers - sum(task.places for task in self._busy.values())

    def _nudge(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is full: the thread will look anyway
            os.write(self._wake, b".")

    def _serve(self) -> None:
        """The thread of the pool. Whatever ends it ends all units with that error."""
        error: BaseException = RuntimeError("the pool of workers was closed")
        try:
            while not self._closing.is_set():
                self._give()
                for key, _ in self._selector.select(_LOOK_SECONDS if self._busy else None):
                    self._take(key.data)
                self._judge()
        except BaseException as raised:  # noqa: BLE001 - given to whoever waits for a unit
            error = raised
        finally:
            with self._change:
                self._broken = error
                left = [*self._busy.values(), *self._queue]
            for worker in [*self._idle, *self._busy]:
                worker.end()
            for task in left:
                self._end(task, error=error)

    def _give(self) -> None:
        """Give waiting units to workers, in order, while there are places for them."""
        while True:
            with self._change:
                if not self._queue or self._queue[0].places > self._free:
                    return
                worker = self._worker()  # if there is none, its unit still waits, and ends with that error
                task = self._queue.popleft()
                self._busy[worker] = task
                then = self._then(task)
            with contextlib.suppress(OSError):  # it has just died: its answer will say so
                worker.give(task.unit, then)

    def _then(self, task: _Task) -> WorkUnit | None:
        """A waiting unit whose parts the worker of `task` may fetch, where parts must be fetched."""
        if task.unit.lake.local_path("") is not None:
            return None
        found = next((other for other in self._queue if not other.fetched), None)
        if found is None:
            return None
        found.fetched = True
        return found.unit

    def _worker(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if not worker.has_died:
                return worker
            self._dismiss(worker)
        worker = self._started()
        self._selector.register(worker.connection, selectors.EVENT_READ, worker)
        return worker

    def _started(self) -> Worker:
        """A new worker. The server that forks them may have been killed: another one starts once it is seen to be dead.

        It no longer answers some time before that.
        """
        for wait in _START_WAITS:
            try:
                return Worker(self._context, self._cache)
            except (OSError, EOFError):
                time.sleep(wait)
        return Worker(self._context, self._cache)

    def _take(self, worker: Worker | None) -> None:
        """Take the answer of a worker, or note its death; without one, somebody called."""
        if worker is None:
            with contextlib.suppress(BlockingIOError):
                os.read(self._woken, 1 << 16)
            return
        task = self._busy.pop(worker, None)
        try:
            markers = worker.answer()
        except (EOFError, ConnectionError):
            if task is None:
                self._idle.remove(worker)
            exit_code = self._dismiss(worker)
            if task is not None:
                self._end(task, error=_death(exit_code))
            return
        except Exception as error:  # noqa: BLE001 - the unit's own, raised where its result is taken
            if task is not None:
                self._end(task, error=error)
        else:
            if task is not None:
                self._end(task, markers)
        self._idle.append(worker)

    def _dismiss(self, worker: Worker) -> int:
        self._selector.unregister(worker.connection)
        return worker.end()

    def _end(self, task: _Task, markers: Markers | None = None, error: BaseException | None = None) -> None:
        with self._change:
            task.markers, task.error, task.has_ended = markers, error, True
            self._change.notify_all()

    def _judge(self) -> None:
        """End the worker that uses too much memory, and those of units that were cancelled and go on."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        for worker in [worker for worker, task in self._busy.items() if task.ends_at < now]:
            self._end(self._busy.pop(worker), error=WorkerDied(": it was cancelled"))
            self._dismiss(worker)
        used = {worker: (worker.private_bytes, task.places) for worker, task in self._busy.items()}
        worst = self._limit.over(used, self.places)
        if worst is not None:
            task = self._busy.pop(worst)
            self._dismiss(worst)
            size, allowed = used[worst][0], task.places * self._limit.place_bytes
            told = f"was ended because it used {_gibibytes(size)} of memory, of {_gibibytes(allowed)}"
            self._end(task, error=OutOfMemory(told))


class _Task:
    """A unit that waits, runs or has ended, and the places that it takes. `fetched`: a worker fetches its parts."""

    def __init__(self, unit: WorkUnit, places: int) -> None:
        self.unit, self.places = unit, places
        self.fetched = False
        self.ends_at = float("inf")
        self.has_ended = False
        self.markers: Markers | None = None
        self.error: BaseException | None = None


def _death(exit_code: int) -> WorkerDied:
    if exit_code == -signal.SIGKILL:
        return OutOfMemory("was killed (SIGKILL), most likely because the machine ran out of memory")
    return WorkerDied(f": it {cause_of_death(exit_code)}")


def _gibibytes(size: int) -> str:
    return f"{size / (1 << 30):.2f} GiB"


def flatten(markers: Iterable[dict[str, Marker]]) -> dict[str, Marker]:
    """The markers of several units by key."""
    return {key: marker for found in markers for key, marker in found.items()}
