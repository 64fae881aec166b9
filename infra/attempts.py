"""Ends a flow run that is restarted again and again without progress."""

from __future__ import annotations

import datetime
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext

MOST_RESTARTS = 5
_ENDED = (StateType.FAILED, StateType.COMPLETED, StateType.CANCELLED, StateType.PAUSED)
_RESTARTED = "AwaitingRetry"  # name of the state that automations and `infra.server.lost_runs` set
_LONG_AGO = datetime.datetime.min.replace(tzinfo=datetime.UTC)


class NoProgress(Exception):
    """The flow run was restarted too often without progress; only a person can restart it."""


def require_progress(progress: datetime.datetime | None = None) -> None:
    """Raise NoProgress after `MOST_RESTARTS` restarts of the current flow run without progress. Call it at the start.

    Progress is a completed task run, or a later time that the caller knows, such as that of the newest checkpoint. A
    Retry by a person starts the count anew.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return
    with get_client(sync_client=True) as client:
        restarts = restarts_without_progress(client, context.flow_run.id, progress)
    if restarts >= MOST_RESTARTS:
        raise NoProgress(
            f"restarted {restarts} times without progress. Look at the logs of the last attempts; after the cause is "
            "removed, press Retry."
        )


def restarts_without_progress(
    client: SyncPrefectClient, flow_run: UUID, progress: datetime.datetime | None = None
) -> int:
    """The number of automatic restarts of a flow run since its last progress, and since it last ended otherwise."""
    states = client.read_flow_run_states(flow_run)
    tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])))
    since = max(
        progress or _LONG_AGO,
        *(state.timestamp for state in states if state.type in _ENDED),
        *(task.end_time for task in tasks if task.state_name == "Completed" and task.end_time is not None),
        _LONG_AGO,
    )
    return sum(state.name == _RESTARTED and state.timestamp > since for state in states)
