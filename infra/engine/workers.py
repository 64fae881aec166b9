"""A worker process of the local pool: takes one unit at a time from a pipe, and answers with markers or an error.

Only the pool gives it units, and only when it has answered the last one. So the pool knows at any time which unit a
worker has, and can end that worker without harm to another unit.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from infra.engine.memory import below, private_bytes
from infra.engine.units import WorkUnit
from infra.guard import die_with_parent
from infra.store.manifest import Marker

_starting = threading.Lock()


class Worker:
    """The pool's side of a worker process. `cache` is the folder that the workers of a pool share."""

    def __init__(self, context: ForkServerContext, cache: Path) -> None:
        self.connection, theirs = context.Pipe()
        self._cache = cache
        self._process = context.Process(target=_serve, args=(theirs, cache, os.getpid()), daemon=True)
        with _starting, _no_main_module():
            self._process.start()
        theirs.close()

    @property
    def private_bytes(self) -> int:
        """Its memory, with that of the programs that it started: see `infra.engine.memory`."""
        return private_bytes(self._process.pid or 0)

    @property
    def has_died(self) -> bool:
        """Whether it has ended. Ask only while it has no unit: an answer that waits looks the same."""
        return self.connection.poll()

    def give(self, unit: WorkUnit, ahead: WorkUnit | None) -> None:
        """Give it a unit, and one whose remote parts it may fetch meanwhile. Raises OSError if it has ended."""
        self.connection.send((unit, ahead))

    def answer(self) -> dict[str, Marker]:
        """The markers of its unit. Raises the unit's own error, and EOFError if the worker has ended."""
        markers, error = pickle.loads(self.connection.recv_bytes())
        if error is not None:
            raise error
        found: dict[str, Marker] = markers
        return found

    def end(self) -> int:
        """End it with every program that it started, and delete its unfinished files. Returns its exit code."""
        pid = self._process.pid or 0
        for process in below(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self.connection.close()
        for left in self._cache.glob(f"{work_prefix(pid)}*"):
            shutil.rmtree(left, ignore_errors=True)
        return self._process.exitcode or 0


def work_prefix(pid: int) -> str:
    """How the names of the folders begin in which a worker writes before it uploads."""
    return f"work-{pid}-"


def _serve(connection: Connection, cache: Path, flow: int) -> None:
    """What a worker does: it ends with the flow process, leaves Ctrl-C to it, and uses one thread."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not os.path.exists(f"/proc/{flow}"):
        os._exit(1)
    from infra.engine.arrow import set_up_arrow
    from infra.engine.work import do

    set_up_arrow()
    with contextlib.suppress(EOFError, OSError):  # the pool ended
        while True:
            unit, ahead = connection.recv()
            markers: dict[str, Marker] = {}
            failure: Exception | None = None
            try:
                markers = do(unit, cache, ahead)
            except Exception as error:  # noqa: BLE001 - it is raised again in the flow
                failure = error
            connection.send_bytes(_pickled(markers, failure))


def _pickled(markers: dict[str, Marker], error: Exception | None) -> bytes:
    if error is None:
        return pickle.dumps((markers, None))
    error.add_note("".join(traceback.format_exception(error)).rstrip())
    try:
        data = pickle.dumps((markers, error))
        pickle.loads(data)  # some exceptions can be written and not be read
    except Exception:  # noqa: BLE001 - pickle runs the code of any class
        return pickle.dumps((markers, RuntimeError(f"{type(error).__name__}: {error}")))
    return data


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Within the block, new processes do not import the program of this one (`multiprocessing.spawn`).

    Workers need nothing of it, and to import a command line takes longer than many units.
    """
    main: Any = sys.modules["__main__"]
    names = {name: getattr(main, name) for name in ("__spec__", "__file__") if getattr(main, name, None) is not None}
    for name in names:
        setattr(main, name, None)
    try:
        yield
    finally:
        for name, value in names.items():
            setattr(main, name, value)
