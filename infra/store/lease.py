"""A lease on a piece of work: builds that overlap do it once, where the store has locks.

Only local lakes have them: the kernel releases the lock of a process that dies. On S3 overlapping builds may do the
same work twice; they write the same objects, so the result is the same.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.store.errors import StoreDenied
from infra.store.lake import Lake, store_errors

POLL_SECONDS = 0.5
FOLDER = "leases"
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # of a network file system


class _NoLocks(Exception):
    """There can be no lease here."""


@contextmanager
def lease(lake: Lake, name: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lease `name`. Calls `waiting` once if another process holds it.

    A process must not take a second lease while it holds one.
    """
    path = lake.local_path(f"{FOLDER}/{name}")
    if path is None:
        yield
        return
    try:
        descriptor = _take(path)
        if descriptor is None:
            waiting()
            while descriptor is None:
                time.sleep(POLL_SECONDS)
                descriptor = _take(path)
    except _NoLocks:
        yield
        return
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: whoever opened it before sees that it is gone
        os.close(descriptor)


def held_leases(lake: Lake) -> list[str]:
    """The names of the leases that processes of this machine hold: work that runs now. Empty where there are no locks.

    Leases that nobody holds, left by killed processes, are not counted.
    """
    folder = lake.local_path(FOLDER)
    if folder is None or not folder.is_dir():
        return []
    held = []
    for path in sorted(folder.iterdir()):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue  # it ended meanwhile, or is no lease
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            held.append(path.name)
        except OSError:
            pass  # no locks here
        finally:
            os.close(descriptor)
    return held


def _take(path: Path) -> int | None:
    """An open descriptor that holds the lock, or None if another process holds it."""
    try:
        with store_errors(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o770)
            # Readable for all who may write the lake: flock needs no more.
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o660)
    except StoreDenied as error:
        raise _NoLocks from error  # of another user, in a lake that several use
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
    except BlockingIOError:
        pass
    except OSError as error:
        os.close(descriptor)
        if error.errno in _NO_LOCKS:
            raise _NoLocks from error
        raise
    os.close(descriptor)
    return None
