"""Commands that run flows in their own process: each holds a lock, by which others see that it has ended.

No worker and no heartbeat watches such a flow run. Without this, it would stay Running after `kill -9`.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from infra.server.keeper import lock

if TYPE_CHECKING:  # Prefect reads its settings at import
    from prefect.client.orchestration import SyncPrefectClient

_FOLDER = "commands"
_TAG = "command:"


@contextmanager
def running_command(state_folder: Path, api_url: str) -> Iterator[str]:
    """Hold a lock in `state_folder` within the context; yields the tag for this command's flow runs on `api_url`.

    Where the folder cannot be written (a container that uses another machine's server), there is no lock.
    """
    name = uuid.uuid4().hex
    path = _lock_file(state_folder, name)
    fresh = path.with_suffix(".new")
    try:
        state_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT, 0o600)  # not inherited by commands that this one starts
        os.write(descriptor, api_url.encode())
    except OSError:
        yield f"{_TAG}{name}"
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        fresh.rename(path)  # never visible without its lock
        yield f"{_TAG}{name}"
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def end_lost_commands(client: SyncPrefectClient, state_folder: Path, api_url: str) -> list[str]:
    """Set the flow runs on `api_url` of commands that were killed to Crashed; returns a line for each.

    Commands of other state folders and machines have no lock file here, and are left alone.
    """
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        FlowRunFilterTags,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    dead = {f"{_TAG}{path.stem}": path for path in (state_folder / _FOLDER).glob("*.lock") if _is_free(path, api_url)}
    if not dead:
        return []
    under_way = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING])
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(any_=[*dead]), state=FlowRunFilterState(type=under_way))
    )
    lines = []
    for run in runs:
        with suppress(ObjectNotFound):  # deleted meanwhile
            client.set_flow_run_state(run.id, Crashed(message="Its command was killed."), force=True)
            lines.append(f"run {run.name}: crashed; its command was killed")
    for path in dead.values():
        path.unlink(missing_ok=True)
    return lines


def _is_free(path: Path, api_url: str) -> bool:
    try:
        with lock(path) as held:
            return held and path.read_text(encoding="utf-8") == api_url
    except OSError:  # its command has ended just now
        return False


def _lock_file(state_folder: Path, name: str) -> Path:
    return state_folder / _FOLDER / f"{name}.lock"
