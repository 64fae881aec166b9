"""A run that is restarted without progress is ended; progress and a person's Retry start the count anew."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import flow_run
from prefect.states import AwaitingRetry, Crashed, Failed, Running, State

from infra.attempts import MOST_RESTARTS, NoProgress, require_progress, restarts_without_progress
from tests.conftest_servers import PrefectServer


@pytest.fixture
def client(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@flow
def guarded() -> None:
    """What is restarted."""
    require_progress()


def go(client: SyncPrefectClient, run: FlowRun, *states: State[None]) -> None:
    for state in states:
        client.set_flow_run_state(run.id, state, force=True)


def restarts(count: int) -> list[State[None]]:
    return [state for _ in range(count) for state in (Running(), Crashed(), AwaitingRetry())]


def test_restarts_are_counted_from_the_last_progress(client: SyncPrefectClient) -> None:
    run = client.create_flow_run(guarded)
    go(client, run, *restarts(4))
    assert restarts_without_progress(client, run.id) == 4
    checkpoint = datetime.datetime.now(datetime.UTC)
    go(client, run, *restarts(2))
    assert restarts_without_progress(client, run.id) == 6
    assert restarts_without_progress(client, run.id, checkpoint) == 2
    go(client, run, Failed(), AwaitingRetry())
    assert restarts_without_progress(client, run.id) == 1, "a person pressed Retry"


def test_a_completed_task_is_progress(client: SyncPrefectClient) -> None:
    @task
    def work() -> None:
        """Is done."""

    @flow
    def working() -> str:
        run = client.read_flow_run(flow_run.id)
        go(client, run, *restarts(3))
        before = restarts_without_progress(client, run.id)
        work()
        deadline = datetime.datetime.now() + datetime.timedelta(seconds=60)
        while restarts_without_progress(client, run.id):  # the server records task runs with some delay
            assert datetime.datetime.now() < deadline
        return str(before)

    assert working() == "3"


def test_a_deployed_run_without_progress_fails(client: SyncPrefectClient) -> None:
    from prefect.flow_engine import run_flow

    deployment = client.create_deployment(client.create_flow(guarded), name="guarded")
    try:
        for count, ends in ((MOST_RESTARTS - 1, False), (MOST_RESTARTS, True)):
            run = client.create_flow_run_from_deployment(deployment)
            go(client, run, *restarts(count))
            if ends:
                with pytest.raises(NoProgress, match="restarted 5 times without progress"):
                    run_flow(guarded, flow_run=client.read_flow_run(run.id))
                assert client.read_flow_run(run.id).state_name == "Failed"
            else:
                run_flow(guarded, flow_run=client.read_flow_run(run.id))
    finally:
        client.delete_deployment(deployment)
