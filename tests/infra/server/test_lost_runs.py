"""Runs that nobody works on do not stay Pending or Running: they are scheduled again, or ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import Pending

from infra.attempts import restarts
from infra.server.commands import end_lost_commands, running_command
from infra.server.lost_runs import resume_unstarted_runs
from infra.server.objects import apply_objects, read_objects
from tests.conftest_servers import PrefectServer
from tests.holding import holding

COMMAND = """
import sys
from pathlib import Path
from prefect import flow, tags
from prefect.runtime import flow_run
from infra.attempts import restarts
from infra.server.commands import running_command

@flow
def work():
    print(flow_run.id, flush=True)
    sys.stdin.read()

with running_command(Path(sys.argv[1]), sys.argv[2]) as tag, tags(tag):
    work()
"""


@pytest.fixture
def client(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        apply_objects(client, read_objects())
        yield client


@flow
def start_me() -> None:
    """What a worker would start."""


def test_a_run_that_does_not_start_is_scheduled_again(client: SyncPrefectClient) -> None:
    """Its worker died after it had taken the run: until now such a run filled its queue for ever."""
    deployment = client.create_deployment(client.create_flow(start_me), name="start", work_pool_name="millrace")
    try:
        starting = client.create_flow_run_from_deployment(deployment, state=Pending(name="Submitting"))
        waiting = client.create_flow_run_from_deployment(deployment)
        assert starting.name not in str(resume_unstarted_runs(client, "millrace", seconds=3600))
        line = f"run {starting.name}: did not start, and is scheduled again"
        assert line in resume_unstarted_runs(client, "millrace", seconds=0)
        assert client.read_flow_run(starting.id).state_name == "AwaitingRetry"
        assert restarts(client, starting.id, None) == 1, "not taken for a person's Retry"
        assert client.read_flow_run(waiting.id).state_name == "Scheduled"
    finally:
        client.delete_deployment(deployment)


def test_a_run_of_a_killed_command_has_crashed(
    client: SyncPrefectClient, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    url = prefect_server.api_url
    with holding(COMMAND, str(tmp_path), url) as (command, run):
        assert end_lost_commands(client, tmp_path, url) == [], "it lives"
        command.kill()
    assert end_lost_commands(client, tmp_path, "http://another.example/api") == [], "its server is asked later"
    [line] = end_lost_commands(client, tmp_path, url)
    assert line.endswith("crashed; its command was killed")
    assert client.read_flow_run(run).state_name == "Crashed"
    assert end_lost_commands(client, tmp_path, url) == []
    assert [*tmp_path.rglob("*.lock")] == []


def test_a_command_that_ends_leaves_no_lock(client: SyncPrefectClient, tmp_path: Path) -> None:
    with running_command(tmp_path, "url") as tag, running_command(tmp_path, "url") as other:
        assert tag != other
        assert end_lost_commands(client, tmp_path, "url") == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_command_without_a_folder_to_write_runs_without_a_lock(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with running_command(tmp_path / "file" / "state", "url") as tag:
        assert tag
