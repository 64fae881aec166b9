"""One Prefect server as a child process, on a socket that its parent owns."""

import base64
import datetime
import errno
import http
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

from infra.guard import die_with_parent
from infra.server.environment import server_environment
from infra.server.password import password
from infra.server.service_errors import STARTED

STATE_FILE = "server.json"
LOG_FILE = "server.log"
LOG_BYTES = 5_000_000
STOP_SECONDS = 5.0
BIND_SECONDS = 2.0


class ServerNotStarted(RuntimeError):
    """The Prefect server did not start; the message contains the end of its log."""


class ServerProcess:
    """A Prefect server (uvicorn) that ends with this process.

    This process opens the socket and passes it to the server, so no other program can take the port in between. A
    restarted server keeps its address while its clients wait in the backlog.
    """

    def __init__(self, state_folder: Path, *, port: int, services: bool) -> None:
        """Opens a socket on loopback (on a free port where `port` is 0 or taken) and starts the server."""
        self._state_folder = state_folder
        self._services = services
        self._password = password(state_folder)  # a restarted server keeps its password
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not self._bind(port):
            self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(512)
        self.port = self._listener.getsockname()[1]
        self.api_url = f"http://127.0.0.1:{self.port}/api"
        self._log = _open_log(state_folder / LOG_FILE)
        self._process = self._start()

    def _bind(self, port: int) -> bool:
        """Bind to `port`; False where it is taken. A server that has just been killed frees it after a moment."""
        deadline = time.monotonic() + BIND_SECONDS
        while True:
            try:
                self._listener.bind(("127.0.0.1", port))
                return True
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                if time.monotonic() > deadline:
                    return False
            time.sleep(0.05)

    def announce(self) -> None:
        """Writes the state file that other commands use to find this server."""
        state = {"url": self.api_url, "keeper": os.getpid(), "services": self._services}
        path = self._state_folder / STATE_FILE
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(state), encoding="utf-8")
        os.replace(fresh, path)

    def returncode(self) -> int | None:
        """The server's exit code; None while it runs."""
        return self._process.poll()

    def restart(self) -> None:
        """Restarts a server that has died, on the same socket and database."""
        self._process.wait()
        self._process = self._start()

    def stop(self) -> None:
        """Removes the state file, stops the server, and closes the socket."""
        (self._state_folder / STATE_FILE).unlink(missing_ok=True)
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.close()
        self._log.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        parent = os.getpid()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._log.write(f"{now} {STARTED}\n".encode())
        self._log.flush()
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--factory", "infra.server.app:create_app"),
                *("--fd", str(self._listener.fileno()), "--log-level", "warning", "--no-access-log"),
                *("--timeout-keep-alive", "60", "--timeout-graceful-shutdown", "2", "--lifespan", "on"),
            ],
            env={
                **os.environ,
                **server_environment(self._state_folder, self.port, self._password, services=self._services),
                "PREFECT__SERVER_FINAL": "1",
            },
            pass_fds=[self._listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: _die_with(parent),  # safe: the keeper has one thread
        )


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect server answers at `api_url` within two seconds."""
    try:
        with _open(urllib.request.Request(f"{api_url}/health"), seconds=2) as answer:
            return bool(json.load(answer))
    except (urllib.error.URLError, OSError, ValueError):
        return False


def takes_password(api_url: str, secret: str) -> bool:
    """Whether the healthy Prefect server at `api_url` accepts `secret` as its password."""
    credentials = base64.b64encode(secret.encode()).decode("ascii")
    request = urllib.request.Request(f"{api_url}/admin/version", headers={"Authorization": f"Basic {credentials}"})
    try:
        with _open(request, seconds=60):
            return True
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.UNAUTHORIZED:
            raise
        return False


def _open(request: urllib.request.Request, seconds: float) -> Any:
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=seconds)


def not_started(state_folder: Path) -> str:
    """The error message for a server that did not start, with the end of its log."""
    log = state_folder / LOG_FILE
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:] if log.exists() else []
    return "\n".join(
        [
            f"the Prefect server of {state_folder} did not start; the end of {log}:",
            *(f"    {line}" for line in lines),
            "cure: fix the error in the log; if the database is of another Prefect version, move it away (prefect.db*)",
        ]
    )


def _open_log(path: Path) -> IO[bytes]:
    if path.exists() and path.stat().st_size > LOG_BYTES:
        os.replace(path, path.with_suffix(".log.1"))
    return path.open("ab")


def _die_with(parent: int) -> None:
    die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
