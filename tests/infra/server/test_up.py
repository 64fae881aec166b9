"""`millrace up`, from the first line to Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import refresh_global_settings_context
from prefect.states import Running

from infra.attempts import restarts
from infra.server import up as up_module
from infra.server.deployments import check_deployments
from infra.server.keeper import CRASH_SECONDS, KEEPER_LOCK, lock
from infra.server.objects import WorkPoolSpec
from infra.server.process import STATE_FILE, is_healthy
from tests.conftest_servers import PrefectServer

ROOT = Path(__file__).parents[3]


def test_up_deploys_everything_and_ctrl_c_ends_everything(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    process = subprocess.Popen(
        [Path(sys.executable).with_name("millrace"), "up", "--state", str(tmp_path), "--port", "0"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    # The whole group: what still lives of it holds the pipe open, and reading would never end.
    overdue = threading.Timer(300, os.killpg, (process.pid, signal.SIGKILL))
    overdue.start()
    try:
        lines: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Worker "):
                break
        (dashboard,) = [line.split()[1] for line in lines if line.startswith("dashboard:")]

        # A person finds the password where the output says, and it is not in the output itself.
        (file,) = [line.split()[-1] for line in lines if line.startswith("password:")]
        user, _, secret = Path(file).read_text().strip().partition(":")
        assert secret not in "".join(lines)
        assert httpx.post(f"{dashboard}/api/deployments/filter", json={}).status_code == 401
        found = httpx.post(f"{dashboard}/api/deployments/filter", json={}, auth=(user, secret)).json()
        wanted = sorted(name.rpartition("/")[2] for name in check_deployments(ROOT))
        assert sorted(each["name"] for each in found) == wanted
        # Without inputs a schedule could only fail.
        assert [schedule["slug"] for each in found for schedule in each["schedules"]] == []
        # The pages ask the right address for data, and are those that ask nobody else.
        settings = httpx.get(f"{dashboard}/ui-settings").json()
        assert (settings["api_url"], settings["default_ui"]) == (f"{dashboard}/api", "v1")

        # A second one would take the first one's runs for lost.
        second = subprocess.run(
            [Path(sys.executable).with_name("millrace"), "up", "--state", str(tmp_path)],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert second.returncode == 1
        assert f"another `millrace up` runs with {tmp_path}" in second.stderr

        # The keeper of the server dies, and the server with it.
        os.kill(json.loads((tmp_path / STATE_FILE).read_text())["keeper"], signal.SIGKILL)
        for line in process.stdout:
            lines.append(line)
            if line == "the server had died, and runs again\n":
                break
        assert is_healthy(f"{dashboard}/api"), "at the same address"

        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait() == 0, "".join(lines) + rest
        assert rest.rstrip().endswith("stopped")
        assert secret not in "".join(lines) + rest
    finally:
        overdue.cancel()
        process.kill()
        process.wait()
    with lock(tmp_path / KEEPER_LOCK, seconds=10) as nobody_keeps:
        assert nobody_keeps
    assert not is_healthy(f"{dashboard}/api")
    assert not (tmp_path / STATE_FILE).exists()


def test_lost_runs_are_sought_before_each_start_of_the_worker(
    prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that dies leaves its runs Running or Pending; the next one does not know them."""
    lost: list[FlowRun] = []

    def run_worker(pool: WorkPoolSpec) -> float:
        with get_client(sync_client=True) as client:
            if lost:
                run = client.read_flow_run(lost[0].id)
                assert run.state_name == "AwaitingRetry" and run.deployment_id is not None
                assert restarts(client, run.id, None) == 1, "not taken for a person's Retry"
                client.delete_deployment(run.deployment_id)
                return 0.0  # `up` gives up
            deployment = client.create_deployment(client.create_flow(lose_me), name="lost", work_pool_name=pool.name)
            lost.append(client.create_flow_run_from_deployment(deployment, state=Running()))
        return CRASH_SECONDS

    monkeypatch.setattr(up_module, "_run_worker", run_worker)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("PREFECT_API_URL")  # the same server is found by its state folder
            assert up_module.up(prefect_server.state_folder, 0, lambda client: []) == 1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        refresh_global_settings_context()


@flow
def lose_me() -> None:
    """What a worker had started."""
