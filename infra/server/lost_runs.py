"""Runs that were under way when `millrace up` ended."""

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
    """Schedules the runs of `pool` that still count as under way; returns a line for each.

    To be called only while the pool has no worker: then no such run can have a process. The automations of
    objects.yaml would find these runs too, but a server that was started again holds the event of their crash back
    for 15 minutes, because it has not seen the event before it (docs/prefect.md). A run that was being cancelled is
    cancelled; one that was started five times already is left to the automation, and so to a person.
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
            message = "Scheduled again: its process ended with the worker."
            client.set_flow_run_state(run.id, AwaitingRetry(message=message), force=True)
            lines.append(f"run {run.name}: goes on")
    return lines
