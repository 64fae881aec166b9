"""Who may ask the server: the attacks of another user of the machine, and of a web page in the user's browser."""

import json
import os
import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from infra.server.keeper import USERS_LOCK
from infra.server.password import PASSWORD_FILE, USERS_OWN, PasswordExposed, password, where_it_is
from infra.server.process import STATE_FILE, takes_password
from tests.conftest_servers import PrefectServer

RUN = {"state": {"type": "SCHEDULED"}, "job_variables": {"command": "id"}}
ANY_DEPLOYMENT = "/deployments/00000000-0000-4000-8000-000000000000/create_flow_run"


@pytest.mark.parametrize("path", ["/deployments/filter", "/work_pools/filter", "/flow_runs/", ANY_DEPLOYMENT])
@pytest.mark.parametrize("auth", [None, ("millrace", "guess"), ("", "")], ids=["none", "wrong", "empty"])
def test_who_has_no_password_gets_nothing(
    prefect_server: PrefectServer, path: str, auth: tuple[str, str] | None
) -> None:
    assert httpx.post(prefect_server.api_url + path, json=RUN, auth=auth).status_code == 401


def test_a_form_that_needs_no_preflight_gets_nothing(prefect_server: PrefectServer) -> None:
    """A browser sends `text/plain` to any address at once, whatever the page's origin."""
    headers = {"content-type": "text/plain", "origin": "http://evil.example"}
    answer = httpx.post(prefect_server.api_url + ANY_DEPLOYMENT, content=json.dumps(RUN), headers=headers)
    assert answer.status_code == 401
    assert "access-control-allow-origin" not in answer.headers
    assert "www-authenticate" not in answer.headers  # a browser would ask the user, and send the password by itself


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:8123", "null"])
def test_a_page_of_another_origin_may_not_ask(prefect_server: PrefectServer, origin: str) -> None:
    url = prefect_server.api_url + "/deployments/filter"
    asking = {"origin": origin, "access-control-request-method": "POST"}
    preflight = httpx.options(url, headers={**asking, "access-control-request-headers": "authorization,content-type"})
    assert preflight.status_code == 400 and "access-control-allow-origin" not in preflight.headers
    answer = httpx.post(url, json={}, headers={"origin": origin}, auth=prefect_server.auth)
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_dashboards_own_pages_may_ask(prefect_server: PrefectServer, name: str) -> None:
    origin = f"http://{name}:{urlsplit(prefect_server.api_url).port}"
    answer = httpx.post(
        prefect_server.api_url + "/deployments/filter", json={}, headers={"origin": origin}, auth=prefect_server.auth
    )
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4200", "127.0.0.1.evil.example", "localhost.", ""])
def test_a_name_that_was_made_to_mean_this_machine_is_refused(prefect_server: PrefectServer, host: str) -> None:
    dashboard = prefect_server.api_url.removesuffix("/api")
    for path in ("/", "/ui-settings", "/api/health", "/api/admin/version"):
        answer = httpx.get(dashboard + path, headers={"host": host}, auth=prefect_server.auth)
        assert (answer.status_code, answer.text) == (400, "Invalid host header"), path


@pytest.mark.parametrize("path", ["events/in", "events/out", "logs/out"])
def test_websockets_ask_for_the_password_and_the_host_too(prefect_server: PrefectServer, path: str) -> None:
    port = urlsplit(prefect_server.api_url).port
    with connect(f"ws://127.0.0.1:{port}/api/{path}", subprotocols=[Subprotocol("prefect")]) as stranger:
        stranger.send(json.dumps({"type": "auth", "token": "millrace:guess"}))
        with pytest.raises(ConnectionClosed) as closed:
            stranger.recv(timeout=60)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    connection = socket.create_connection(("127.0.0.1", port or 0))
    with connection, pytest.raises(InvalidStatus, match="400"):
        connect(f"ws://evil.example:{port}/api/{path}", sock=connection)


def test_the_password_is_in_one_private_file_and_nowhere_else(prefect_server: PrefectServer) -> None:
    folder = prefect_server.state_folder
    assert stat.S_IMODE((folder / PASSWORD_FILE).stat().st_mode) == 0o600
    secret = prefect_server.auth[1]
    assert len(secret) >= 40 and takes_password(prefect_server.api_url, password(folder))
    holding = [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert [path.name for path in holding] == [PASSWORD_FILE]
    assert {path.name for path in folder.iterdir()} > {STATE_FILE, USERS_LOCK, "prefect.db", "server.log"}
    arguments = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert any("infra.server.app:create_app" in line for line in arguments)
    assert not any(secret in line for line in arguments)


def test_each_folder_has_a_password_of_its_own_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(USERS_OWN, raising=False)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    first, second = map(password, folders)
    assert first != second
    assert [password(folder) for folder in folders] == [first, second]
    assert os.listdir(folders[0]) == [PASSWORD_FILE] and str(folders[0] / PASSWORD_FILE) in where_it_is(folders[0])
    (folders[0] / PASSWORD_FILE).chmod(0o640)
    with pytest.raises(PasswordExposed, match="other users can access"):
        password(folders[0])


def test_a_users_own_password_wins_and_is_not_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USERS_OWN, "operator:secret")
    assert password(tmp_path) == "operator:secret"
    assert USERS_OWN in where_it_is(tmp_path) and "secret" not in where_it_is(tmp_path)
    assert list(tmp_path.iterdir()) == []
