"""What the house relies on in the pinned Prefect, tried on a real server with a real worker (docs/prefect.md)."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.events.schemas.automations import EventTrigger
from prefect.states import Cancelling, Suspended

from infra.guard import descendants
from infra.launcher import sweep
from infra.server.deployments import deploy_file
from infra.server.keeper import CRASH_SECONDS
from infra.server.local import local_server
from infra.server.lost_runs import resume_lost_runs
from infra.server.objects import apply_objects, read_objects
from infra.server.process import STATE_FILE, is_healthy
from infra.suspension import ENDED
from tests.conftest_servers import PrefectServer
from tests.infra.toys.flows import stage

ROOT = Path(__file__).parents[2]
TOYS = Path(__file__).parent / "toys"
RESUME_SECONDS = 10  # in place of the 30 s of objects.yaml: the least that Prefect takes


@pytest.fixture(scope="module")
def client(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture(scope="module")
def worker(prefect_server: PrefectServer, client: SyncPrefectClient) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker of the pool `millrace`, with the toys deployed and the automations at work."""
    objects = read_objects()
    resume = objects.automations[1].trigger
    assert isinstance(resume, EventTrigger)
    resume.within = timedelta(seconds=RESUME_SECONDS)
    apply_objects(client, objects)
    deploy_file(client, TOYS)
    marker = uuid.uuid4().hex
    log = (prefect_server.state_folder / "worker.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "millrace"],
        env={
            **os.environ,
            **objects.work_pools[0].environment,
            "MILLRACE_LAUNCH": marker,
            "PYTHONPATH": str(ROOT),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        },
        cwd=prefect_server.state_folder,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.wait()
    assert sweep(marker) == []
    log.close()


def start(client: SyncPrefectClient, deployment: str, folder: Path) -> FlowRun:
    found = client.read_deployment_by_name(deployment)
    return client.create_flow_run_from_deployment(found.id, parameters={"folder": str(folder)})


def reach(client: SyncPrefectClient, run: FlowRun, condition: Callable[[FlowRun], bool], seconds: float) -> FlowRun:
    deadline = time.monotonic() + seconds
    while not condition(now := client.read_flow_run(run.id)):
        assert time.monotonic() < deadline, f"{now.state_name} (attempt {now.run_count}): {now.state}"
        time.sleep(0.1)
    return now


def recorded(client: SyncPrefectClient, state: State[Any]) -> FlowRun:
    assert state.state_details.flow_run_id is not None
    return client.read_flow_run(state.state_details.flow_run_id)


def task_states(client: SyncPrefectClient, run: FlowRun) -> list[tuple[int, str]]:
    runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
    return sorted((each.flow_run_run_count, str(each.state_name)) for each in runs)


def newest_event(client: SyncPrefectClient, run: FlowRun) -> str:
    wanted = {"filter": {"any_resource": {"id": [f"prefect.flow-run.{run.id}"]}, "order": "DESC"}, "limit": 6}
    answer = client.request("POST", "/events/filter", json=wanted)
    events = answer.raise_for_status().json()["events"]
    own = [str(event["event"]) for event in events if event["event"].startswith("prefect.flow-run.")]
    return own[0] if own else ""


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.usefixtures("prefect_server")
def test_a_cached_state_is_returned_as_a_state_and_shown_as_cached(tmp_path: Path, client: SyncPrefectClient) -> None:
    (tmp_path / "first").write_text("abc")

    @flow
    def look() -> tuple[object, object, object]:
        plain = stage(tmp_path, "first")
        state = stage(tmp_path, "first", return_state=True)
        submitted = stage.submit(tmp_path, "first").result()
        return plain, state.result(), submitted

    state = look(return_state=True)
    plain, from_state, submitted = state.result()
    # A plain call gives back the state and not its data; the other two ways give the data.
    assert isinstance(plain, State)
    assert from_state == submitted == {"digest": "abc"}
    run = recorded(client, state)
    assert eventually(lambda: task_states(client, run) == [(1, "Cached")] * 3, 10)


@pytest.mark.usefixtures("worker")
def test_a_retry_does_only_what_was_lost(tmp_path: Path, client: SyncPrefectClient) -> None:
    run = start(client, "staged/staged", tmp_path)
    reach(client, run, lambda now: now.state_name == "Failed", 180)
    assert (tmp_path / "computed").read_text().split() == ["first", "second"]

    (tmp_path / "mended").touch()
    retry = [sys.executable, "-m", "prefect", "flow-run", "retry", str(run.id)]
    subprocess.run(retry, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    done = reach(client, run, lambda now: now.state_name == "Completed", 180)
    assert done.run_count == 2
    assert (tmp_path / "computed").read_text().split() == ["first", "second", "second"]
    expected = [(1, "Completed"), (1, "Failed"), (2, "Cached"), (2, "Completed")]
    assert eventually(lambda: task_states(client, run) == expected, 10)


@pytest.mark.usefixtures("worker")
def test_cancelling_ends_ranks_in_their_own_sessions(tmp_path: Path, client: SyncPrefectClient) -> None:
    run = start(client, "ranks/ranks", tmp_path)
    assert eventually((tmp_path / "pids").exists, 180)
    ranks = [Path("/proc", pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(ranks) == 2 and all(rank.exists() for rank in ranks)
    client.set_flow_run_state(run.id, Cancelling())
    reach(client, run, lambda now: now.state_name == "Cancelled", 180)
    assert not any(rank.exists() for rank in ranks)


@pytest.mark.usefixtures("worker")
def test_suspending_ends_ranks_and_resuming_starts_one_attempt(tmp_path: Path, client: SyncPrefectClient) -> None:
    run = start(client, "ranks/ranks", tmp_path)
    assert eventually((tmp_path / "pids").exists, 180)
    ranks = [Path("/proc", pid) for pid in (tmp_path / "pids").read_text().split()]
    reach(client, run, lambda now: now.state_name == "Running", 60)
    client.set_flow_run_state(run.id, Suspended(timeout_seconds=3600))
    assert eventually(lambda: not any(rank.exists() for rank in ranks), 120)
    flow_process = Path("/proc", (tmp_path / "attempts").read_text().split()[0])
    assert eventually(lambda: not flow_process.exists(), 60)
    assert client.read_flow_run(run.id).state_name == "Suspended"
    # After the last heartbeat comes an event, or the automation for silent runs would take the silence for a crash.
    assert eventually(lambda: newest_event(client, run) == ENDED, 60)
    client.resume_flow_run(run.id)
    reach(client, run, lambda now: now.state_name == "Completed", 180)
    assert len((tmp_path / "attempts").read_text().split()) == 2


@pytest.mark.usefixtures("worker")
@pytest.mark.heavy
def test_a_killed_flow_crashes_leaves_no_rank_and_goes_on_once(tmp_path: Path, client: SyncPrefectClient) -> None:
    run = start(client, "ranks/ranks", tmp_path)
    assert eventually((tmp_path / "pids").exists, 180)
    ranks = [Path("/proc", pid) for pid in (tmp_path / "pids").read_text().split()]
    os.kill(int((tmp_path / "attempts").read_text()), signal.SIGKILL)
    crashed = reach(client, run, lambda now: now.state_name == "Crashed", 20)
    assert crashed.state is not None and "SIGKILL" in str(crashed.state.message)
    assert eventually(lambda: not any(rank.exists() for rank in ranks), 15)
    # The worker's second report of the same death comes seconds later, and must not meet a second attempt.
    reach(client, run, lambda now: now.state_name == "Completed", 60)
    assert len((tmp_path / "attempts").read_text().split()) == 2


@pytest.mark.usefixtures("worker")
def test_parameters_are_checked_by_the_server_but_unknown_ones_are_not(
    tmp_path: Path, prefect_server: PrefectServer, client: SyncPrefectClient
) -> None:
    deployment = client.read_deployment_by_name("staged/staged")

    def create(parameters: dict[str, object]) -> httpx.Response:
        url = f"{prefect_server.api_url}/deployments/{deployment.id}/create_flow_run"
        values = {"folder": str(tmp_path), **parameters}
        return httpx.post(url, json={"parameters": values}, auth=prefect_server.auth)

    assert create({"options": {"layers": 0}}).status_code == 409
    assert "0 is less than the minimum of 1" in create({"options": {"layers": 0}}).text
    assert "is not one of" in create({"options": {"family": "bert"}}).text
    assert "'layer' was unexpected" in create({"options": {"layer": 2}}).text  # through extra="forbid"
    unknown = create({"no_such_parameter": 1})
    assert unknown.status_code == 201
    run = client.read_flow_run(unknown.json()["id"])
    crashed = reach(client, run, lambda now: now.state_name == "Crashed", 180)
    assert crashed.run_count == 0  # so the automation leaves it alone: its flow never began


@pytest.mark.usefixtures("worker")
def test_a_run_has_no_say_in_the_command_the_environment_or_the_folder(
    tmp_path: Path, prefect_server: PrefectServer, client: SyncPrefectClient
) -> None:
    """Each of the three would run code that the deployment does not name; `evil` leaves a file where it is imported."""
    evil = tmp_path / "evil"
    (evil / "prefect").mkdir(parents=True)
    for module in (evil / "sitecustomize.py", evil / "prefect" / "__init__.py"):
        module.write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()")
    attacks: list[dict[str, object]] = [
        {"command": f"touch {tmp_path / 'commanded'}"},
        {"env": {"PYTHONPATH": str(evil)}, "env.PYTHONPATH": str(evil), "working_dir": str(evil)},
    ]
    deployment = client.read_deployment_by_name("staged/staged")
    (tmp_path / "mended").touch()
    runs = []
    for variables in attacks:
        request = {"parameters": {"folder": str(tmp_path)}, "state": {"type": "SCHEDULED"}, "job_variables": variables}
        checked = f"{prefect_server.api_url}/deployments/{deployment.id}/create_flow_run"
        refused = httpx.post(checked, json=request, auth=prefect_server.auth)
        assert refused.status_code == 422 and "Additional properties are not allowed" in refused.text, refused.text
        # The server checks nothing here; the worker has to leave the variables alone.
        request |= {"flow_id": str(deployment.flow_id), "deployment_id": str(deployment.id)}
        request |= {"work_pool_name": "millrace", "work_queue_name": "default"}
        created = client.request("POST", "/flow_runs/", json=request).raise_for_status().json()
        assert created["job_variables"] == variables
        runs.append(client.read_flow_run(created["id"]))
    for run in runs:
        reach(client, run, lambda now: now.state_name == "Completed", 120)
    assert not (tmp_path / "commanded").exists() and not (tmp_path / "imported").exists()


@pytest.mark.usefixtures("worker")
@pytest.mark.heavy
def test_runs_of_a_worker_that_is_gone_are_scheduled_again(tmp_path: Path, client: SyncPrefectClient) -> None:
    run = start(client, "ranks/ranks", tmp_path)
    assert eventually((tmp_path / "pids").exists, 180)
    lines = resume_lost_runs(client, "millrace")
    assert lines == [f"run {run.name}: resumed"]
    reach(client, run, lambda now: now.state_name == "Completed", 180)


def test_a_run_survives_the_death_of_its_server(prefect_server: PrefectServer, client: SyncPrefectClient) -> None:
    state_file = prefect_server.state_folder / STATE_FILE
    keeper = json.loads(state_file.read_text())["keeper"]
    assert eventually(lambda: time.time() - state_file.stat().st_mtime > CRASH_SECONDS, CRASH_SECONDS + 5)

    @flow
    def outlive() -> str:
        (server,) = descendants(keeper)
        os.kill(server, signal.SIGKILL)
        assert eventually(lambda: is_healthy(prefect_server.api_url), 60)
        return "alive"

    state = outlive(return_state=True)
    assert state.result() == "alive"
    assert recorded(client, state).state_name == "Completed"
    with local_server(prefect_server.state_folder) as api_url:
        assert api_url == prefect_server.api_url


@pytest.mark.usefixtures("prefect_server")
def test_warnings_of_this_project_stand_on_the_page_of_the_run(client: SyncPrefectClient) -> None:
    """In processes that were started with the client's environment, as a worker's are."""
    program = (
        "import logging\nfrom prefect import flow\nfrom prefect.runtime import flow_run\n"
        "@flow\ndef warn():\n    logging.getLogger('millrace.engine').warning('attempt 1 of 4 failed')\n"
        "    return str(flow_run.id)\nprint(warn())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    run = done.stdout.split()[-1]
    logs = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[uuid.UUID(run)]))
    assert eventually(lambda: "attempt 1 of 4 failed" in [log.message for log in client.read_logs(logs)], 30)
