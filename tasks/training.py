"""Training: from a run to its checkpoints, in processes of its own that are watched and judged from outside."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import TYPE_CHECKING

from infra.launcher import GuardLost, LaunchError, Stalled
from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from infra.store.patient import PatientLake
from model.supervision.progress import read_progress
from model.supervision.termination import LEFT_AFTER_SAVING, PERMANENT, PERMANENT_ERROR
from model.trackers.tracker import require_installed
from tasks.layout_request import LayoutRequest, check_layout
from tasks.output_errors import OutputErrors
from tasks.run_settings import WrongSetting
from tasks.supervisor import Supervisor

if TYPE_CHECKING:
    from model.run.config import RunConfig


class TrainingFailed(Exception):
    """The training processes ended in an error that another start would not mend."""


class TrainingInterrupted(Exception):
    """The training processes were killed, told to leave, or stood still; another start goes on from a checkpoint."""


class TrainingStopped(Exception):
    """A person stopped the run; it is saved, and goes on when a person starts it again."""


def create_training_run(lake: Lake, config: RunConfig, request: LayoutRequest | None) -> str:
    """Write down a run that is to be executed as requested; gives its key. Creating it again changes nothing.

    Raises WrongSetting when it cannot be executed so: what its launch would say, said before there is one. Without a
    request, that is left to whoever launches it.
    """
    from model.run.config import create_run

    if request is not None and not is_finished(lake, config.key):
        check_layout(config, request.layout())
        try:
            require_installed(request.trackers)
        except ValueError as error:
            raise WrongSetting(str(error)) from error
    return create_run(lake, config)


def is_finished(lake: Lake, run: str) -> bool:
    """Whether the run's last launch reached its last step, and the checkpoint of that step is still there.

    Without that checkpoint, or where its manifest cannot be read, another launch makes it again.
    """
    from model.checkpoints.manifest import read_checkpoint

    progress = read_progress(lake, run)
    if progress is None or progress.state != "finished":
        return False
    try:
        read_checkpoint(lake, run, progress.steps)
    except (Corrupt, NotThere):
        return False
    return True


def newest_checkpoint_time(lake: Lake, run: str) -> datetime.datetime | None:
    """When the run's newest checkpoint was committed, by the store's clock; None before the first."""
    from model.checkpoints.manifest import MANIFEST, checkpoint_folder, committed_steps

    steps = committed_steps(lake, run)
    entry = lake.entry(f"{checkpoint_folder(run, steps[-1])}/{MANIFEST}") if steps else None
    return None if entry is None else datetime.datetime.fromtimestamp(entry.modified, datetime.UTC)


def train(
    lake: Lake,
    run: str,
    layout: LayoutRequest,
    on_line: Callable[[str], None],
    on_step: Callable[[int, int], None],
    on_poll: Callable[[], None] = lambda: None,
) -> None:
    """Start the run, or resume it, and return when it is finished.

    `on_step` gets the step reached and the number of steps. `on_poll` is called about twice a second; its exception
    ends the processes, and this call.

    The processes are judged by the steps and marks they make, not by being alive; whatever ends this call ends them
    all. Raises TrainingInterrupted when another start would go on, TrainingStopped when it would but a person asked
    for the stop, TrainingFailed when it would not go on.
    """
    supervisor = Supervisor(lake, run, layout, on_step, on_poll)
    printed = OutputErrors()

    def follow(line: str) -> None:
        printed.read(line)
        on_line(line)

    try:
        status = supervisor.run_processes(follow)
    except Stalled as error:
        raise TrainingInterrupted(
            f"the run {run[:12]} made no progress and was ended ({supervisor.name_stuck()}); start it again to resume"
        ) from error
    except GuardLost as error:
        raise TrainingInterrupted(f"the run {run[:12]} stopped: {error}") from error
    except LaunchError as error:
        raise TrainingFailed(f"the run {run[:12]} could not be started: {error}") from error
    supervisor.progress()
    events = supervisor.events()
    errors = [event for event in events if event["event"] == "error"]
    permanent = [event for event in errors if event["error"] in PERMANENT]
    stops = [event for event in events if event["event"] == "stop"]
    if stops and status in (0, LEFT_AFTER_SAVING):
        step, who = stops[-1]["step"], stops[-1]["who"]
        raise TrainingStopped(f"the run {run[:12]} was stopped at step {step} by {who}; start it again to resume")
    if status == 0:
        return
    if permanent:
        raise TrainingFailed(f"the run {run[:12]} failed at step {permanent[-1]['step']}: {permanent[-1]['message']}")
    if status == PERMANENT_ERROR:
        reason = printed.reason() or f"exit code {status}; its output is in the log"
        raise TrainingFailed(f"the run {run[:12]} failed: {reason}")
    if status == LEFT_AFTER_SAVING:
        raise TrainingInterrupted(f"the run {run[:12]} was asked to exit and has saved; start it again to resume")
    reason = errors[-1]["message"] if errors else printed.reason() or f"exit code {status}"
    raise TrainingInterrupted(f"the run {run[:12]} was interrupted ({reason}); start it again to resume")


def train_on(
    lake: Lake,
    run: str,
    layout: LayoutRequest,
    on_line: Callable[[str], None],
    on_step: Callable[[int, int], None],
    on_poll: Callable[[], None] = lambda: None,
) -> None:
    """`train`, started again at once for as long as every launch comes to a checkpoint that was not there before it.

    A run of weeks meets more interruptions than a task has retries; those are for a run that does not get on.
    """
    from model.checkpoints.manifest import committed_steps

    lake = PatientLake(lake.uri)
    while True:
        before = set(committed_steps(lake, run))
        try:
            return train(lake, run, layout, on_line, on_step, on_poll)
        except TrainingInterrupted as interruption:
            if set(committed_steps(lake, run)) <= before:
                raise
            on_line(f"{interruption}; it has saved a new checkpoint, so it restarts now")
