"""Resumes flow runs that were in progress when `millrace up` ended."""

import datetime

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import AwaitingRetry, Cancelled

from infra.attempts import BY_ITSELF

MOST_ATTEMPTS = 50  # as in the automation of objects.yaml
# A flow's process needs some 10 s from Pending to Running, and a minute on a busy machine.
STARTING_SECONDS = 300.0


def resume_unstarted_runs(client: SyncPrefectClient, pool: str, seconds: float = STARTING_SECONDS) -> list[str]:
    """Reschedule the runs of `pool` that have been starting for longer than `seconds`; returns a line for each.

    When a worker dies while it starts a run, the run stays Pending and fills its queue: no automation watches a run
    before its first heartbeat.
    """
    lines = []
    now = datetime.datetime.now(datetime.UTC)
    for run in _runs(client, pool, StateType.PENDING):
        if run.state is not None and (now - run.state.timestamp).total_seconds() > seconds:
            if client.read_flow_run(run.id).state_type != StateType.PENDING:
                continue  # it has just started
            _reschedule(client, run, f"it did not start within {seconds:.0f} seconds")
            lines.append(f"run {run.name}: did not start, and is scheduled again")
    return lines


def resume_lost_runs(client: SyncPrefectClient, pool: str) -> list[str]:
    """Reschedules the runs of `pool` that are in a running, pending or cancelling state; returns a line for each.

    Call this only while the pool has no worker, so that none of these runs has a process. The automations of
    objects.yaml would also find these runs, but a restarted server delays the event of their crash by 15 minutes,
    because it has not seen the preceding event (docs/prefect.md). A run that was being cancelled becomes cancelled. A
    run that has started that often is left to the automation, whose limit leaves it to a person.
    """
    lines = []
    for run in _runs(client, pool, StateType.RUNNING, StateType.PENDING, StateType.CANCELLING):
        if run.state_type == StateType.CANCELLING:
            client.set_flow_run_state(run.id, Cancelled(message="Its process ended with the worker."), force=True)
            lines.append(f"run {run.name}: cancelled")
        elif run.run_count < MOST_ATTEMPTS:
            _reschedule(client, run, "its process ended with the worker")
            lines.append(f"run {run.name}: resumed")
    return lines


def _reschedule(client: SyncPrefectClient, run: FlowRun, why: str) -> None:
    client.set_flow_run_state(run.id, AwaitingRetry(message=f"{BY_ITSELF}: {why}."), force=True)


def _runs(client: SyncPrefectClient, pool: str, *types: StateType) -> list[FlowRun]:
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[*types]))),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
    )
