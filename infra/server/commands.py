"""Commands that run flows in their own process: each holds a lock, by which others see that it has ended.

No worker and no heartbeat watches such a flow run. Without this, it would stay Running after `kill -9`.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from infra.server.keeper import lock

if TYPE_CHECKING:  # Prefect reads its settings at import
    from prefect.client.orchestration import SyncPrefectClient

_FOLDER = "commands"
_TAG = "command:"


@contextmanager
def running_command(state_folder: Path) -> Iterator[str]:
    """Hold a lock in `state_folder` within the context; yields the tag for this command's flow runs."""
    name = uuid.uuid4().hex
    path = _lock_file(state_folder, name)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT, 0o600)  # not inherited by commands that this one starts
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        fresh.rename(path)  # never visible without its lock
        yield f"{_TAG}{name}"
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def end_lost_commands(client: SyncPrefectClient, state_folder: Path) -> list[str]:
    """Set the flow runs of commands that were killed to Crashed; returns a line for each.

    Commands of other state folders and machines have no lock file here, and are left alone.
    """
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterDeploymentId,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    dead = {path.stem: path for path in (state_folder / _FOLDER).glob("*.lock") if _is_free(path)}
    if not dead:
        return []
    under_way = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING])
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(is_null_=True), state=FlowRunFilterState(type=under_way)
        )
    )
    lines = []
    for run in runs:
        if any(tag.startswith(_TAG) and tag.removeprefix(_TAG) in dead for tag in run.tags):
            client.set_flow_run_state(run.id, Crashed(message="Its command was killed."), force=True)
            lines.append(f"run {run.name}: crashed; its command was killed")
    for path in dead.values():
        path.unlink(missing_ok=True)
    return lines


def _is_free(path: Path) -> bool:
    with lock(path) as held:
        return held


def _lock_file(state_folder: Path, name: str) -> Path:
    return state_folder / _FOLDER / f"{name}.lock"
