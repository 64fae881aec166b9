"""Training: from a run to its checkpoints, in processes of its own that are watched and judged from outside."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

import infra
from infra.launcher import GuardLost, LaunchError, Stalled, Watch, launch
from infra.stage import StageConfig
from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from model.checkpoints.retention import Retention
from model.layout import Layout
from model.supervision.heartbeat import INTERVAL, Mark, describe, read_mark, stuck
from model.supervision.launch import GRACE_SECONDS, Machines, launch_command
from model.supervision.logbook import Logbook, read_logbook
from model.supervision.progress import read_progress
from model.supervision.termination import LEFT_AFTER_SAVING, PERMANENT
from model.trackers.tracker import TRACKERS_FOLDER, require_installed
from tasks.overrides import overrides_of, request_of
from tasks.run_settings import WrongSetting

if TYPE_CHECKING:
    from model.run.config import RunConfig

SUPERVISOR = -1  # its place in the logbook, where a rank's number stands


class TrainingFailed(Exception):
    """The training processes ended in an error that another start would not mend."""


class TrainingInterrupted(Exception):
    """The training processes were killed, told to leave, or stood still; another start goes on from a checkpoint."""


class TrainingStopped(Exception):
    """A person stopped the run; it is saved, and goes on when a person starts it again."""


class LayoutRequest(
    request_of(Layout, StageConfig, engine="deepspeed", data=2, zero=1, micro_batch=4)  # type: ignore[misc]
):
    """How a run is executed: nothing of it enters the run's identity.

    The first fields are those of `model.layout.Layout`, some with another default. The native engine has one rank and
    no ZeRO without being told.
    """

    machines: int = pydantic.Field(1, ge=1, description="Number of machines that share the ranks evenly, through Ray.")
    ray: str = pydantic.Field("", description="Address of a Ray cluster to run on. Without it: this machine.")
    startup_seconds: float = pydantic.Field(
        600, gt=0, description="A launch without a first step after this time is ended and restarted."
    )
    steady_seconds: float = pydantic.Field(
        300, gt=0, description="A launch without progress for this time is ended and restarted."
    )
    keep_full: int = pydantic.Field(2, ge=1, description="Number of newest checkpoints that keep their full state.")
    keep_every: int | None = pydantic.Field(
        None, ge=1, description="Checkpoints at multiples of this step keep their full state; others keep only weights."
    )
    grace_seconds: int = pydantic.Field(
        GRACE_SECONDS, ge=1, lt=30, description="Time for ranks to save when asked to exit; Prefect kills after 30 s."
    )

    trackers: tuple[Literal["wandb", "mlflow", "trackio"], ...] = pydantic.Field(
        (), description="Experiment trackers that follow the run; they never stop or delay it."
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _native(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("engine") == "native":
            return {"data": 1, "zero": 0, **values}
        return values

    @pydantic.model_validator(mode="after")
    def _can_be_run(self) -> LayoutRequest:
        ranks = self.layout().ranks
        if ranks % self.machines:
            raise ValueError(f"{ranks} ranks cannot be shared evenly among {self.machines} machines; change either")
        if self.machines > 1 and not self.ray:
            raise ValueError(
                f"{self.machines} machines need a Ray cluster: set layout.ray to its address, or start each machine's "
                "part with `millrace launch`"
            )
        return self

    def retention(self) -> Retention:
        """Which checkpoints stay whole."""
        return Retention(self.keep_full, self.keep_every)

    def layout(self) -> Layout:
        """The layout itself. Raises ValueError when its fields do not go together."""
        return Layout(**{field.name: getattr(self, field.name) for field in fields(Layout)})


class LayoutOverrides(overrides_of(LayoutRequest)):  # type: ignore[misc]
    """Fields of a layout request, to replace those of a training config or the defaults."""


def create_training_run(lake: Lake, config: RunConfig, request: LayoutRequest) -> str:
    """Write down a run that is to be executed so; gives its key. Creating the same run again changes nothing.

    Raises WrongSetting when it cannot be executed so: what its launch would say, said before there is one.
    """
    from model.run.config import create_run

    if not is_finished(lake, config.key):
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


def train(
    lake: Lake,
    run: str,
    layout: LayoutRequest,
    on_line: Callable[[str], None],
    on_step: Callable[[int, int], None],
) -> None:
    """Start the run, or resume it, and return when it is finished.

    The processes are judged by the steps and marks they make, not by being alive; whatever ends this call ends them
    all. Raises TrainingInterrupted when another start would go on, TrainingStopped when it would but a person asked
    for the stop, TrainingFailed when it would not go on.
    """
    before = len(read_logbook(lake, run))
    supervisor = _Supervisor(lake, run, layout, on_step)
    try:
        status = supervisor.carry_out(on_line)
    except Stalled as error:
        raise TrainingInterrupted(
            f"the run {run[:12]} made no progress and was ended ({supervisor.name_stuck()}); start it again to resume"
        ) from error
    except GuardLost as error:
        raise TrainingInterrupted(f"the run {run[:12]} stopped: {error}") from error
    except LaunchError as error:
        raise TrainingFailed(f"the run {run[:12]} could not be started: {error}") from error
    supervisor.progress()
    events = read_logbook(lake, run)[before:]
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
    if status == LEFT_AFTER_SAVING:
        raise TrainingInterrupted(f"the run {run[:12]} was asked to exit and has saved; start it again to resume")
    reason = errors[-1]["message"] if errors else f"exit code {status}"
    raise TrainingInterrupted(f"the run {run[:12]} was interrupted ({reason}); start it again to resume")


def train_on(
    lake: Lake,
    run: str,
    layout: LayoutRequest,
    on_line: Callable[[str], None],
    on_step: Callable[[int, int], None],
) -> None:
    """`train`, started again at once for as long as every launch comes to a checkpoint that was not there before it.

    A run of weeks meets more interruptions than a task has retries; those are for a run that does not get on.
    """
    from model.checkpoints.manifest import committed_steps

    while True:
        before = set(committed_steps(lake, run))
        try:
            return train(lake, run, layout, on_line, on_step)
        except TrainingInterrupted as interruption:
            if set(committed_steps(lake, run)) <= before:
                raise
            on_line(f"{interruption}; it has saved a new checkpoint, so it restarts now")


def check_layout(config: RunConfig, layout: Layout) -> None:
    """Raise WrongSetting when a run cannot be executed so: what its launch would say."""
    # torch takes over a second to import, and nothing else in the flow process needs it.
    from model.parallel.shapes import local_shapes

    if (layout.engine, layout.device, config.training.precision) == ("deepspeed", "cpu", "fp16"):
        raise WrongSetting(
            "the run trains in fp16, which DeepSpeed supports only on GPUs: use `--set training.precision=fp32 --set "
            "training.scaler=null`, or the layout device=cuda"
        )
    try:
        layout.accumulation(config.training.batch)
        if config.training.validation is not None:
            layout.accumulation(config.training.validation.sequences)
        for stage in range(layout.pipeline):
            local_shapes(config.model, layout, 0, stage)
    except ValueError as error:
        raise WrongSetting(f"the layout does not fit the run: {error}") from error
    training = config.training
    if config.model.heads % layout.tensor:
        problem = f"tensor {layout.tensor} does not divide the model's {config.model.heads} heads"
    elif layout.sequence_parallel and training.sequence_length % layout.tensor:
        problem = f"tensor {layout.tensor} does not divide the sequence length {training.sequence_length}"
    elif layout.engine == "deepspeed" and training.precision != "fp32" and layout.zero == 0:
        problem = f"DeepSpeed without ZeRO accumulates gradients in {training.precision}; set zero to 1 or more"
    else:
        return
    raise WrongSetting(f"the layout does not fit the run: {problem}")


class _Supervisor:
    """One launch of a run, and what is known of it from outside."""

    def __init__(self, lake: Lake, run: str, request: LayoutRequest, on_step: Callable[[int, int], None]) -> None:
        self.lake, self.run, self.request, self.on_step = lake, run, request, on_step
        self.began = time.time()
        self._step = 0
        self._mark: Mark | None = None
        self._asked = 0.0

    def carry_out(self, on_line: Callable[[str], None]) -> int:
        """The command's exit code. Raises what `infra.launcher.launch` raises."""
        request, layout = self.request, self.request.layout()
        environment = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": request.device}
        # The launch's cache folder goes with the launch, and what trackers recorded offline must not.
        environment[TRACKERS_FOLDER] = os.environ.get(TRACKERS_FOLDER) or str(
            Path("trackers", self.run[:12]).absolute()
        )
        watch = Watch(self.progress, request.startup_seconds, request.steady_seconds)
        if request.ray:
            from infra.clusters.ray import Place, Wanted, launch_on_ray

            def part(place: Place) -> list[str]:
                machines = Machines(request.machines, place.rank, place.endpoint)
                where = (self.lake.uri, self.run, layout, place.folder, machines)
                return launch_command(*where, request.grace_seconds, request.retention(), request.trackers)

            each = layout.ranks // request.machines
            wanted = Wanted(request.machines, cpus=each, gpus=each if request.device == "cuda" else 0)
            return launch_on_ray(
                *(request.ray, wanted, part),
                environment=environment,
                on_line=on_line,
                watch=watch,
                grace=request.grace_seconds,
            )
        root = Path(infra.__file__).parents[1]
        with tempfile.TemporaryDirectory(prefix="millrace-train-") as cache:
            return launch(
                launch_command(
                    *(self.lake.uri, self.run, layout, Path(cache)),
                    grace=request.grace_seconds,
                    retention=request.retention(),
                    trackers=request.trackers,
                ),
                environment={**os.environ, **environment, "PYTHONPATH": str(root)},
                folder=root,
                on_line=on_line,
                watch=watch,
                grace=request.grace_seconds,
            )

    def progress(self) -> tuple[int, float] | None:
        """A value that changes when this launch gets on: its step, and the time of the first rank's last mark."""
        progress = read_progress(self.lake, self.run)
        if progress is None or progress.updated < self.began:
            return None
        self._step = progress.step
        self.on_step(progress.step, progress.steps)
        if progress.state == "starting":
            return None
        if time.monotonic() - self._asked > INTERVAL:
            self._mark, self._asked = read_mark(self.lake, self.run, 0), time.monotonic()
        # The ranks go in step: where any of them is stuck, the first soon makes no marks either.
        return progress.step, self._mark.time if self._mark is not None else 0.0

    def name_stuck(self) -> str:
        """Which ranks have made no mark, and where they are, in words; written into the logbook too."""
        started = self._mark is not None and self._mark.time >= self.began
        limit = (self.request.steady_seconds if started else self.request.startup_seconds) / 2
        found = stuck(self.lake, self.run, self.request.layout().ranks, self.began, limit, time.time())
        if not found:
            return "every rank reported progress until it was ended"
        logbook = Logbook(self.lake, self.run, f"supervisor-{uuid.uuid4().hex[:12]}", SUPERVISOR)
        logbook.write("stuck", self._step, message=describe(found), ranks=[asdict(one) for one in found])
        return describe(found)
