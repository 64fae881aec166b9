"""One launch of a run: starts its processes, watches their progress in the lake, and names ranks that are stuck."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import infra
from infra.launcher import Watch, launch
from infra.scratch import scratch_folder
from infra.store.errors import StoreUnavailable
from infra.store.lake import Lake
from model.supervision.heartbeat import INTERVAL, Mark, describe, read_mark, stuck
from model.supervision.launch import Machines, launch_command
from model.supervision.logbook import Logbook, read_logbook
from model.supervision.progress import read_progress
from model.trackers.tracker import TRACKERS_FOLDER
from tasks.layout_request import LayoutRequest

RANK = -1  # the supervisor's rank in the logbook


class Supervisor:
    """One launch of a run. `on_step` is called with the step reached and the number of steps, `on_poll` before that."""

    def __init__(
        self,
        lake: Lake,
        run: str,
        request: LayoutRequest,
        on_step: Callable[[int, int], None],
        on_poll: Callable[[], None] = lambda: None,
    ) -> None:
        self.lake, self.run, self.request, self.on_step, self.on_poll = lake, run, request, on_step, on_poll
        self.launch = new_launch()
        self.began = time.time()
        self._step = 0
        self._mark: Mark | None = None
        self._asked = 0.0

    def run_processes(self, on_line: Callable[[str], None]) -> int:
        """Run the launch to its end; returns the command's exit code. Raises the errors of `infra.launcher.launch`."""
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
                return launch_command(*where, request.grace_seconds, request.retention(), request.trackers, self.launch)

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
        with scratch_folder("train-") as cache:
            return launch(
                launch_command(
                    *(self.lake.uri, self.run, layout, cache),
                    grace=request.grace_seconds,
                    retention=request.retention(),
                    trackers=request.trackers,
                    launch=self.launch,
                ),
                environment={**os.environ, **environment, "PYTHONPATH": str(root)},
                folder=root,
                on_line=on_line,
                watch=watch,
                grace=request.grace_seconds,
            )

    def events(self) -> list[dict[str, Any]]:
        """What this launch wrote into the run's logbook, in order. Other launches may write at the same time."""
        return [event for event in read_logbook(self.lake, self.run) if event["launch"] == self.launch]

    def progress(self) -> tuple[int | str, float] | None:
        """A value that changes when this launch progresses: its step, and the time of rank 0's last mark.

        While the store does not answer, the value changes with each call: nothing is known of the ranks, which wait
        for the store themselves and fail when it stays away (`infra.store.patient`).
        """
        self.on_poll()
        try:
            return self._progress(self.lake.impatient())
        except StoreUnavailable:
            return "the store does not answer", time.monotonic()

    def _progress(self, lake: Lake) -> tuple[int, float] | None:
        progress = read_progress(lake, self.run)
        if progress is None or progress.launch != self.launch:
            return None
        self._step = progress.step
        self.on_step(progress.step, progress.steps)
        if progress.state == "starting":
            return None
        if time.monotonic() - self._asked > INTERVAL:
            self._mark, self._asked = read_mark(lake, self.run, 0), time.monotonic()
        # The ranks go in step: where any of them is stuck, the first soon makes no marks either.
        return progress.step, self._mark.time if self._mark is not None else 0.0

    def name_stuck(self) -> str:
        """Which ranks have made no mark, and where they are, in words; written into the logbook too."""
        started = self._mark is not None and self._mark.time >= self.began
        limit = (self.request.steady_seconds if started else self.request.startup_seconds) / 2
        found = stuck(self.lake, self.run, self.request.layout().ranks, self.began, limit, time.time())
        if not found:
            return "every rank reported progress until it was ended"
        logbook = Logbook(self.lake, self.run, f"supervisor-{uuid.uuid4().hex[:12]}", RANK)
        logbook.write("stuck", self._step, message=describe(found), ranks=[asdict(one) for one in found])
        return describe(found)


def new_launch() -> str:
    """An id for a launch."""
    return uuid.uuid4().hex[:12]
