"""Ends a flow run that is restarted again and again without progress."""

from __future__ import annotations

import datetime
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateName,
)
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.sorting import TaskRunSort
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

MOST_RESTARTS = 5
_ENDED = (StateType.FAILED, StateType.COMPLETED, StateType.CANCELLED, StateType.PAUSED)
_RESTARTED = "AwaitingRetry"
# So begins the message of a state that the automation (objects.yaml) or `infra.server.lost_runs` sets. A person's Retry
# sets the same state, with another message.
BY_ITSELF = "Scheduled again"
_LONG_AGO = datetime.datetime.min.replace(tzinfo=datetime.UTC)


class NoProgress(Exception):
    """The flow run was restarted too often without progress; only a person can restart it."""


def require_progress() -> None:
    """Raise NoProgress after `MOST_RESTARTS` restarts of the current flow run without a completed task.

    Call it at the start of a flow. Does nothing in a flow run that belongs to another one. A Retry by a person starts
    the count anew.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.parent_task_run_id is not None:
        return
    with get_client(sync_client=True) as client:
        run = context.flow_run.id
        _require(restarts(client, run, last_completed_task(client, run)))


def require_checkpoint(newest: datetime.datetime | None) -> None:
    """As `require_progress`, for a training: its progress is its `newest` checkpoint, also below another flow."""
    if FlowRunContext.get() is not None:
        with get_client(sync_client=True) as client:
            _require(restarts(client, UUID(flow_run.root_flow_run_id), newest))


def restarts(client: SyncPrefectClient, run: UUID, progress: datetime.datetime | None) -> int:
    """The number of automatic restarts of a flow run since its progress, and since it last ended otherwise."""
    states = client.read_flow_run_states(run)
    since = max(
        (state.timestamp for state in states if state.type in _ENDED or _is_restart_of_a_person(state)),
        default=_LONG_AGO,
    )
    since = max(since, progress or _LONG_AGO)
    return sum(_is_automatic_restart(state) and state.timestamp > since for state in states)


def last_completed_task(client: SyncPrefectClient, run: UUID) -> datetime.datetime | None:
    """When a task run of a flow run last completed with work of its own; None before the first."""
    completed = TaskRunFilterState(name=TaskRunFilterStateName(any_=["Completed"]))
    [*found] = client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])),
        task_run_filter=TaskRunFilter(state=completed),
        sort=TaskRunSort.END_TIME_DESC,
        limit=1,
    )
    return found[0].end_time if found else None


def _require(count: int) -> None:
    if count >= MOST_RESTARTS:
        raise NoProgress(
            f"restarted {count} times without progress. Look at the logs of the last attempts; after the cause is "
            "removed, press Retry."
        )


def _is_automatic_restart(state: State) -> bool:
    return state.name == _RESTARTED and (state.message or "").startswith(BY_ITSELF)


def _is_restart_of_a_person(state: State) -> bool:
    return state.name == _RESTARTED and not _is_automatic_restart(state)
