"""Resumes flow runs that were in progress when `millrace up` ended."""

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import StateType
from prefect.states import AwaitingRetry, Cancelled

MOST_ATTEMPTS = 5  # as in the automation of objects.yaml


def resume_lost_runs(client: SyncPrefectClient, pool: str) -> list[str]:
    """Reschedules the runs of `pool` that are in a running, pending or cancelling state; returns a line for each.

    Call this only while the pool has no worker, so that none of these runs has a process. The automations of
    objects.yaml would also find these runs, but a restarted server delays the event of their crash by 15 minutes,
    because it has not seen the preceding event (docs/prefect.md). A run that was being cancelled becomes cancelled. A
    run that has started five times is left to the automation, whose limit leaves it to a person.
    """
    lines = []
    under_way = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING])
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=under_way)),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
    )
    for run in runs:
        if run.state_type == StateType.CANCELLING:
            client.set_flow_run_state(run.id, Cancelled(message="Its process ended with the worker."), force=True)
            lines.append(f"run {run.name}: cancelled")
        elif run.run_count < MOST_ATTEMPTS:
            message = "Rescheduled: its process ended with the worker."
            client.set_flow_run_state(run.id, AwaitingRetry(message=message), force=True)
            lines.append(f"run {run.name}: resumed")
    return lines
