"""What `millrace doctor` tells of passwords, ports and modes: each state that is wrong, and its cure."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from infra.server.exposure import authentication, file_modes, open_ports
from infra.server.password import PASSWORD_FILE
from infra.server.process import STATE_FILE
from tests.conftest_servers import PrefectServer


@contextmanager
def open_server() -> Iterator[str]:
    """A server that answers everyone."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


@contextmanager
def listens(host: str) -> Iterator[tuple[int, int]]:
    """Process id and port of a child of a rank, whose command line is another program's."""
    child = (
        "import socket, sys; s = socket.socket(); s.bind((sys.argv[1], 0)); s.listen(); "
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[3:]])"
    command = [sys.executable, "-c", parent, "-m", "model.agent", child, host]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.communicate("")


def test_the_server_asks_for_its_password(prefect_server: PrefectServer) -> None:
    assert authentication(prefect_server.state_folder) == (True, f"{prefect_server.api_url} requires a password")


def test_a_server_without_a_password_is_told(tmp_path: Path) -> None:
    assert authentication(tmp_path)[0]
    with open_server() as url:
        (tmp_path / STATE_FILE).write_text(json.dumps({"url": url}))
        ok, found = authentication(tmp_path)
        assert not ok and f"{url} answers without a password (status 200); stop that server" in found
    assert authentication(tmp_path) == (True, f"nothing answers at {url}; each server that starts requires a password")


@pytest.mark.usefixtures("ports_of_machine")
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_ports_beyond_loopback_are_told(host: str) -> None:
    with listens(host) as (_, port):
        ok, found = open_ports()
        assert f"{host}:{port} (model.agent, process " in found
        if host == "0.0.0.0":
            assert not ok and found.startswith("beyond loopback: ") and "firewall" in found
    assert f":{port} " not in open_ports()[1]


def test_other_programs_ports_are_theirs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert f":{listener.getsockname()[1]} " not in open_ports()[1]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    for name in (PASSWORD_FILE, "prefect.db", "prefect.db-wal", "server.log"):
        os.close(os.open(folder / name, os.O_CREAT, 0o600))
    return folder


def test_private_files_are_in_order(state: Path) -> None:
    assert file_modes(state) == (True, "other users cannot open the server's state")
    assert file_modes(state / "none")[0]


@pytest.mark.parametrize(
    ("name", "mode", "cure"),
    [
        (".", 0o755, "chmod 700"),
        (PASSWORD_FILE, 0o640, "chmod 600"),
        ("prefect.db", 0o644, "chmod 600"),
        ("prefect.db-wal", 0o602, "chmod 600"),
        ("server.log", 0o604, "chmod 600"),
        (".", 0o1777, "set MILLRACE_STATE to a folder of your own"),
    ],
)
def test_files_open_to_others_are_told(state: Path, name: str, mode: int, cure: str) -> None:
    path = state / name
    path.chmod(mode)
    ok, found = file_modes(state)
    assert not ok and str(path) in found and cure in found


@pytest.mark.parametrize(("mode", "ok", "cure"), [(0o755, True, "o-rwx"), (0o777, False, "go-w"), (0o700, True, "")])
def test_a_lake_open_to_others_is_told(state: Path, tmp_path: Path, mode: int, ok: bool, cure: str) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    lake.chmod(mode)
    fine, found = file_modes(state, lake)
    assert fine == ok and cure in found and (str(lake) in found) == bool(cure)
