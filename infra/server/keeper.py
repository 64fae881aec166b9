"""The keeper: a small process that runs the server of a state folder as long as a command uses it.

Each command holds a shared lock on `users.lock`. The kernel releases the lock when the command ends for any reason.
When the keeper can take the lock exclusively, no command uses the server.
"""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from infra.server.process import STATE_FILE, ServerProcess

USERS_LOCK = "users.lock"
KEEPER_LOCK = "keeper.lock"
UP_LOCK = "up.lock"  # held by `millrace up`
UP_FILE = "up.json"  # the port of its server
POLL_SECONDS = 0.25
LINGER_SECONDS = 2.0  # commands in a row share one server
CRASH_SECONDS = 20.0  # a server that ended sooner is not restarted


def keep(state_folder: Path, *, port: int, services: bool) -> int:
    """Runs the server of `state_folder` until no command uses it. Returns 0, or 1 when the server keeps dying."""
    signal.signal(signal.SIGTERM, _leave)
    os.chdir(state_folder)
    with lock(state_folder / KEEPER_LOCK, seconds=1.0) as held:
        if not held:
            return 0  # another keeper was faster
        (state_folder / STATE_FILE).unlink(missing_ok=True)
        server = ServerProcess(state_folder, port=port, services=services)
        started = time.monotonic()
        try:
            server.announce()
            unused_since: float | None = None
            while True:
                if server.returncode() is not None:
                    if time.monotonic() - started < CRASH_SECONDS:
                        return 1
                    server.restart()
                    started = time.monotonic()
                with lock(state_folder / USERS_LOCK) as unused:
                    now = time.monotonic()
                    unused_since = (unused_since or now) if unused else None
                    if unused_since is not None and now - unused_since >= LINGER_SECONDS:
                        server.stop()  # a new command waits for the lock until the database is free
                        return 0
                time.sleep(POLL_SECONDS)
        finally:
            server.stop()


@contextmanager
def lock(path: Path, *, seconds: float = 0.0) -> Iterator[bool]:
    """Tries for up to `seconds` to lock `path` exclusively; yields whether it succeeded."""
    deadline = time.monotonic() + seconds
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        held = _try_lock(descriptor)
        while not held and time.monotonic() < deadline:
            time.sleep(0.05)
            held = _try_lock(descriptor)
        yield held
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _leave(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1]), port=int(sys.argv[2]), services=sys.argv[3] == "services"))
