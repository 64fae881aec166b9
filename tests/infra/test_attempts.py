"""A run that is restarted without progress is ended; progress and a person's Retry start the count anew."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import AwaitingRetry, Completed, Crashed, Failed, Running, State

from infra.attempts import MOST_RESTARTS, NoProgress, last_completed_task, require_progress, restarts
from tests.conftest_servers import PrefectServer


@pytest.fixture
def client(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@flow
def guarded() -> None:
    """What is restarted."""
    require_progress()


@task
def work() -> None:
    """What a build is made of."""


def go(client: SyncPrefectClient, run: FlowRun, *states: State[None]) -> None:
    for state in states:
        client.set_flow_run_state(run.id, state, force=True)


AGAIN = "Scheduled again after a crash."


def crashes(count: int) -> list[State[None]]:
    return [state for _ in range(count) for state in (Running(), Crashed(), AwaitingRetry(message=AGAIN))]


def count(client: SyncPrefectClient, run: FlowRun) -> int:
    return restarts(client, run.id, last_completed_task(client, run.id))


def test_restarts_are_counted_from_the_last_progress(client: SyncPrefectClient) -> None:
    run = client.create_flow_run(guarded)
    go(client, run, *crashes(4))
    assert restarts(client, run.id, None) == 4
    checkpoint = datetime.datetime.now(datetime.UTC)
    go(client, run, *crashes(2))
    assert restarts(client, run.id, None) == 6
    assert restarts(client, run.id, checkpoint) == 2
    go(client, run, Running(), Crashed(), AwaitingRetry(message="Retried via CLI"))
    assert restarts(client, run.id, None) == 0, "a person pressed Retry"
    go(client, run, *crashes(2), Running(), Failed())
    assert restarts(client, run.id, None) == 0


def test_a_completed_task_is_progress(client: SyncPrefectClient) -> None:
    run = client.create_flow_run(guarded)
    go(client, run, *crashes(3))
    assert count(client, run) == 3
    cached = client.create_task_run(work, run.id, "0", state=Running())
    client.set_task_run_state(cached.id, Completed(name="Cached"), force=True)
    assert count(client, run) == 3
    done = client.create_task_run(work, run.id, "1", state=Running())
    client.set_task_run_state(done.id, Completed(), force=True)
    assert count(client, run) == 0
    go(client, run, *crashes(1))
    assert count(client, run) == 1


def test_a_deployed_run_without_progress_fails(client: SyncPrefectClient) -> None:
    from prefect.flow_engine import run_flow

    deployment = client.create_deployment(client.create_flow(guarded), name="guarded")
    try:
        for many, ends in ((MOST_RESTARTS - 1, False), (MOST_RESTARTS, True)):
            run = client.create_flow_run_from_deployment(deployment)
            go(client, run, *crashes(many))
            if ends:
                with pytest.raises(NoProgress, match="restarted 5 times without progress"):
                    run_flow(guarded, flow_run=client.read_flow_run(run.id))
                assert client.read_flow_run(run.id).state_name == "Failed"
            else:
                run_flow(guarded, flow_run=client.read_flow_run(run.id))
    finally:
        client.delete_deployment(deployment)
