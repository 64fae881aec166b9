"""A Prefect server for the command line: found or started, shared by commands, and stopped when unused."""

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import infra
from infra.server.environment import QUIET, applied, client_environment
from infra.server.keeper import KEEPER_LOCK, UP_FILE, UP_LOCK, USERS_LOCK, lock
from infra.server.password import USERS_OWN, password
from infra.server.private import private_folder
from infra.server.process import LOG_FILE, STATE_FILE, ServerNotStarted, is_healthy, not_started, takes_password

START_LOCK = "start.lock"
START_SECONDS = 120.0


@contextmanager
def local_server(state_folder: Path, *, port: int = 0, services: bool = False) -> Iterator[str]:
    """Find or start a Prefect server and point this process's environment at it; yields the API URL.

    With `PREFECT_API_URL` in the environment, that server is used and none is started; if it requires a password,
    `PREFECT_API_AUTH_STRING` must be set too. Otherwise all concurrent commands share one server per state folder
    (SQLite in that folder, loopback, a free port, log in `server.log`). It stops a few seconds after the last command
    ends, also after `kill -9`.

    `services` requests a server that schedules deployments and runs automations, as for `millrace up`.
    If the state folder has a running server without these services, this call waits until its commands have ended. A
    new server uses `port` if it is free.

    The server requires the password of the state folder, which this process and its children get by environment
    variable.

    Raises ServerNotStarted, with the end of the server's log, and PasswordExposed.
    """
    given = os.environ.get("PREFECT_API_URL")
    if given:
        with applied(QUIET):
            yield given
        return
    state_folder = state_folder.absolute()
    private_folder(state_folder)
    secret = password(state_folder)
    while True:
        with _flock(state_folder / USERS_LOCK, fcntl.LOCK_SH):  # waits while a keeper stops its unused server
            api_url = _find_or_start(state_folder, port, services)
            if api_url is not None:
                if not takes_password(api_url, secret):
                    raise ServerNotStarted(
                        f"the server of {state_folder} was started with another password; cure: set "
                        f"{USERS_OWN} to that password, or wait until the server's commands have ended"
                    )
                with applied(client_environment(state_folder, api_url, secret)):
                    yield api_url
                return
        time.sleep(1)


def keep_running(state_folder: Path, api_url: str) -> bool:
    """Restart the server of `state_folder`, with all services, if its keeper died; returns whether it had.

    For a process that uses the server (`local_server`). Raises ServerNotStarted, also for a server at another address
    than `api_url`: its users would not find it.
    """
    with lock(state_folder / KEEPER_LOCK) as nobody_keeps:
        pass
    found = _find_or_start(state_folder, int(urlsplit(api_url).port or 0), services=True)
    if found != api_url:
        raise ServerNotStarted(f"the server of {state_folder} runs at another address than {api_url}; restart this one")
    return nobody_keeps


def default_state_folder() -> Path:
    """The folder of the server's history: `$MILLRACE_STATE`, or `millrace` in the XDG state folder."""
    given = os.environ.get("MILLRACE_STATE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "millrace"


def _find_or_start(state_folder: Path, port: int, services: bool) -> str | None:
    """The address of the state folder's server, or None when it lacks the requested services."""
    deadline = time.monotonic() + START_SECONDS
    keeper: int | None = None
    with _flock(state_folder / START_LOCK, fcntl.LOCK_EX):
        while time.monotonic() < deadline:
            with lock(state_folder / KEEPER_LOCK) as nobody_keeps:
                pass
            if nobody_keeps and keeper is None:
                keeper = _start_keeper(state_folder, *(_wanted_by_up(state_folder) or (port, services)))
            elif not nobody_keeps:
                announced = _announced(state_folder)
                if announced is not None and is_healthy(announced["url"]):
                    return announced["url"] if announced["services"] or not services else None
            if keeper is not None:
                ended, status = os.waitpid(keeper, os.WNOHANG)
                if ended and os.waitstatus_to_exitcode(status) != 0:
                    break
                if ended:
                    keeper = None  # another keeper was first, or this one was asked to exit
            time.sleep(0.1)
    raise ServerNotStarted(not_started(state_folder))


def _wanted_by_up(state_folder: Path) -> tuple[int, bool] | None:
    """Port and services of the server that a running `millrace up` uses: whoever starts it anew starts the same."""
    with lock(state_folder / UP_LOCK) as nobody_is_up:
        pass
    if nobody_is_up:
        return None
    try:
        return int(json.loads((state_folder / UP_FILE).read_text(encoding="utf-8"))["port"]), True
    except FileNotFoundError:  # it is starting
        return None


def _start_keeper(state_folder: Path, port: int, services: bool) -> int:
    """Starts the keeper in its own session, so that Ctrl-C in the terminal does not reach it."""
    root = str(Path(infra.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    log_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        sys.executable,
        [
            *(sys.executable, "-m", "infra.server.keeper"),
            *(str(state_folder), str(port), "services" if services else "history"),
        ],
        {**os.environ, "PYTHONPATH": path},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(state_folder / LOG_FILE), log_flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _announced(state_folder: Path) -> dict[str, Any] | None:
    try:
        announced: dict[str, Any] = json.loads((state_folder / STATE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return announced


@contextmanager
def _flock(path: Path, kind: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
