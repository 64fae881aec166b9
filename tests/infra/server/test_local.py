"""The server that commands share: found, started, kept while it is used, and gone afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.server.environment import applied, client_environment
from infra.server.keeper import KEEPER_LOCK, USERS_LOCK, lock
from infra.server.local import default_state_folder, local_server
from infra.server.password import USERS_OWN
from infra.server.process import LOG_FILE, STATE_FILE, ServerNotStarted, is_healthy

ROOT = str(Path(__file__).parents[3])
USER = """
import sys
from pathlib import Path
from infra.server.local import local_server
with local_server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def user(state_folder: Path, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """A command that uses the server until its standard input is closed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(state_folder)],
        env={**environment, "PYTHONPATH": ROOT, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process


def url_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def nobody_keeps(state_folder: Path) -> bool:
    with lock(state_folder / KEEPER_LOCK) as free:
        return free


@pytest.fixture
def no_api_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def test_commands_share_one_server_which_ends_with_the_last_even_if_that_is_killed(tmp_path: Path) -> None:
    with user(tmp_path) as first, user(tmp_path) as second:
        url = url_of(first)
        assert url.startswith("http://127.0.0.1:")
        assert url_of(second) == url
        assert is_healthy(url)

        first.kill()
        first.wait()
        keeper = json.loads((tmp_path / STATE_FILE).read_text())["keeper"]

        # A server that dies comes back at the same address; a keeper that was long enough there starts it again.
        assert not nobody_keeps(tmp_path)
        assert is_healthy(url)

        os.kill(second.pid, signal.SIGKILL)
        second.wait()
        assert eventually(lambda: nobody_keeps(tmp_path), 60)
        assert not is_healthy(url)
        assert not (tmp_path / STATE_FILE).exists()
        assert eventually(lambda: not Path(f"/proc/{keeper}").exists(), 60)

    # The next command starts a new one on the same history; its keeper is killed, and the server goes with it.
    with user(tmp_path) as third:
        url = url_of(third)
        keeper = json.loads((tmp_path / STATE_FILE).read_text())["keeper"]
        os.kill(keeper, signal.SIGKILL)
        assert eventually(lambda: not is_healthy(url), 60)
        assert (tmp_path / STATE_FILE).exists()  # stale, and naming a server that is not there

        with user(tmp_path) as fourth:
            assert is_healthy(url_of(fourth))
            assert (tmp_path / LOG_FILE).read_text(errors="replace").count("Traceback") == 0
            os.kill(json.loads((tmp_path / STATE_FILE).read_text())["keeper"], signal.SIGTERM)
            assert eventually(lambda: nobody_keeps(tmp_path), 60)


def test_a_given_server_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example:4200/api")
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    with local_server(tmp_path) as url:
        assert url == "http://prefect.example:4200/api"
        assert os.environ["DO_NOT_TRACK"] == "1"  # Prefect's client sends nothing to its maker, whatever the server
    assert "DO_NOT_TRACK" not in os.environ
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_api_url")
def test_a_server_with_another_password_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(USERS_OWN, raising=False)
    with user(tmp_path, **{USERS_OWN: "operator:secret"}) as process:
        assert is_healthy(url_of(process))
        with pytest.raises(ServerNotStarted, match="was started with another password"), local_server(tmp_path):
            pass
        monkeypatch.setenv(USERS_OWN, "operator:secret")
        with local_server(tmp_path):
            assert os.environ["PREFECT_API_AUTH_STRING"] == "operator:secret"


@pytest.mark.usefixtures("no_api_url")
def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for handler in ("CONSOLE", "DEBUG"):  # as the command line silences its own terminal
        monkeypatch.setenv(f"PREFECT_LOGGING_HANDLERS_{handler}_LEVEL", "CRITICAL")
    (tmp_path / "prefect.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(ServerNotStarted, match="file is not a database"), local_server(tmp_path):
        pass
    assert eventually(lambda: nobody_keeps(tmp_path), 5)


def test_the_environment_is_set_for_prefect_and_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import get_current_settings

    monkeypatch.setenv("NO_PROXY", "example.org")
    before = dict(os.environ)
    with applied(client_environment(tmp_path, "http://127.0.0.1:1/api", "operator:secret")):
        settings = get_current_settings()
        assert settings.api.url == "http://127.0.0.1:1/api"
        assert settings.home == tmp_path
        assert not settings.server.ephemeral.enabled
        assert not settings.server.analytics_enabled
        assert os.environ["NO_PROXY"] == "example.org,127.0.0.1,localhost"
    assert dict(os.environ) == before
    assert get_current_settings().api.url != "http://127.0.0.1:1/api"


def test_the_users_lock_is_shared_and_excludes_the_keeper(tmp_path: Path) -> None:
    with lock(tmp_path / USERS_LOCK) as first:
        assert first
        with ThreadPoolExecutor(1) as pool:
            assert not pool.submit(lambda: lock(tmp_path / USERS_LOCK).__enter__()).result()


def test_the_state_folder_follows_the_users_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path / "here"))
    assert default_state_folder() == tmp_path / "here"
    monkeypatch.delenv("MILLRACE_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_state_folder() == tmp_path / "millrace"
