"""`python -m tests.bench.soak --kills 50`: three runs, each killed 50 times, must end as unbroken ones; else status 1.

One process in fp16 whose loss scale overflows, and two ranks of DeepSpeed, both with dropout: each must end in the same
bits. A third run is started in another layout after every kill: its losses must stay within 1e-4 of the unbroken ones,
over the same sequences. Kills come by turns at places of the program and at moments of the clock, drawn from a seed.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra.store.lake import Lake
from model.checkpoints.manifest import committed_steps
from model.layout import Layout
from model.observers.losses import read_losses
from model.supervision.launch import launch_command
from model.supervision.logbook import read_logbook
from model.supervision.progress import read_progress
from tests.bench.report import machine, versions
from tests.model.support.launches import Moment, run_command
from tests.model.support.small import loss_difference, same_end, small_run

EVERY = 5  # steps between two checkpoints
TOLERANCE = 1e-4  # relative, of a loss in another layout
# Low enough that rounding is not amplified: at 3e-3, two unbroken runs with other micro-batches are 2e-4 apart.
RATE = 2e-3
ONE_PROCESS = Layout(micro_batch=2)
TWO_RANKS = Layout("deepspeed", data=2, zero=1, micro_batch=2)
LAYOUTS = [
    ONE_PROCESS,
    Layout(micro_batch=1, recompute="selective"),
    *(replace(TWO_RANKS, zero=stage) for stage in range(4)),
    Layout("deepspeed", tensor=2, micro_batch=4),
    Layout("deepspeed", tensor=2, micro_batch=2, sequence_parallel=True, recompute="selective"),
    Layout("deepspeed", pipeline=2, micro_batch=2, recompute="whole"),
    Layout("deepspeed", pipeline=2, zero=1, micro_batch=1),
]
DROPOUT = {"dropout": 0.1, "attention_dropout": 0.1}
# Too high at first, and grown again every four good steps: a step in some is skipped.
HALF = {"precision": "fp16", "scaler": {"kind": "deepspeed", "initial": 2.0**21, "window": 4, "hysteresis": 1}}


@dataclass(frozen=True)
class Story:
    """A run to be killed, and the layouts that it is started in: in one alone, it must end in the same bits."""

    name: str
    layouts: list[Layout]
    values: dict[str, Any]


STORIES = [
    Story("one process", [ONE_PROCESS], {"architecture": "opt", "shape": DROPOUT, **HALF}),
    Story("two ranks", [TWO_RANKS], {"architecture": "opt", "shape": DROPOUT}),
    Story("other layouts", LAYOUTS, {"architecture": "llama"}),
]


@dataclass
class Soak:
    """One story as it goes."""

    story: Story
    folder: Path
    steps: int
    chance: random.Random

    def __post_init__(self) -> None:
        self.unbroken, self.killed = (Lake.open(str(self.folder / name)) for name in ("unbroken", "killed"))
        schedule = {"kind": "cosine", "learning_rate": RATE, "minimum": RATE / 10, "warmup": 20, "decay": self.steps}
        values = {"epochs": 3, "steps": self.steps, "schedule": schedule, **self.story.values}
        values |= {"checkpoints": {"kind": "every", "every": EVERY}}
        self.config = small_run(self.unbroken, self.folder / "text", **values)
        small_run(self.killed, self.folder / "text again", **values)
        self.layout = self.story.layouts[0]
        self._start = 5.0  # seconds from a start to the record of it, as it was last

    def go_through(self, kills: int) -> bool:
        """Run it unbroken, then with so many kills; tell of each, and whether the end is as it must be."""
        began = time.monotonic()
        if (status := self._launch(self.unbroken)) != 0:
            raise RuntimeError(f"{self.folder}: the unbroken run ended with status {status}")
        trace = read_losses(self.unbroken, self.config.key)
        self.seconds = statistics.median(record.seconds for record in trace)
        skipped, losses = sum(record.skipped for record in trace), f"loss {trace[0].loss:.3f} to {trace[-1].loss:.3f}"
        print(f"\n{self.story.name}: {self.steps} steps, {skipped} of them skipped; {losses}")
        print(f"  {'kill':>4}  {'began':>5}  {'step':>5}  {'kept':>5}  {'seen':<9}{'moment':<46}layout")
        for number in range(kills):
            self._choose_layout()
            if trouble := self._kill(number, kills - number):
                print(f"  FAILED: {trouble}; see {self.folder}")
                return False
        self._choose_layout()
        status = self._launch(self.killed)
        right, found = self._compare() if status == 0 else (False, f"status {status}")
        seconds = f"{time.monotonic() - began:,.0f} s"
        print(f"  {kills} kills, {seconds}: {'as' if right else 'NOT as'} the unbroken run, {found}", flush=True)
        if not right:
            print(f"  see {self.folder}")
        return right

    def _compare(self) -> tuple[bool, str]:
        if len(self.story.layouts) > 1:
            worst = loss_difference(self.unbroken, self.killed, self.config)
            return worst <= TOLERANCE, f"losses within {worst:.1e} over the same sequences"
        same = same_end(self.unbroken, self.killed, self.config)
        return (
            same,
            f"{'the same' if same else 'other'} bits of weights, moments, random streams, losses, norms, scales",
        )

    def _kill(self, number: int, left: int) -> str:
        """One launch and its death. Says what was wrong when it ended by itself or began where it should not."""
        kept, begun, records, began = self._kept(), len(self._begun()), self._records(), time.time()
        # On average, each of the launches that are left goes on by an equal part of what is left.
        furthest = max(1, 2 * (self.steps - 1 - (kept or 0)) // (left + 1))
        # The last one must not be a race with the end.
        kind = ("place", "work", "place", "start")[number % 4 if left > 1 else 0]
        if kind == "place":
            moment = self._moment(kept or 0, furthest)
            told = f"{moment.point}, {moment.count}. time, rank {moment.rank}"
            status = self._launch(self.killed, moment)
        else:
            after = self.chance.uniform(0.0, self._start if kind == "start" else furthest * self.seconds)
            told = f"{after:.3f} s after its {'start' if kind == 'start' else 'first record'}"
            # Should the machine have become much faster, it must not come to its end.
            last = Moment(f"train.step.{(kept or 0) + furthest}")
            status = self._launch(self.killed, last, lambda: kind == "start" or self._records() > records, after)
        self._tell(number, begun, began, told)
        found = self._begun()[begun:]
        if status == 0:
            return "the run came to its end before it was killed often enough; give it more steps"
        return "" if found in ([], [kept or 0]) else f"it went on from step {found} where {kept} was kept"

    def _tell(self, number: int, begun: int, began: float, moment: str) -> None:
        progress = read_progress(self.killed, self.config.key)
        new = progress is not None and progress.updated >= began
        seen, step = (progress.state, str(progress.step)) if new and progress is not None else ("nothing", "")
        first = next(map(str, self._begun()[begun:]), "")
        kept = "" if (newest := self._kept()) is None else str(newest)
        values = self.layout.to_plain().items()
        layout = ", ".join(f"{name} {value}" for name, value in values if value not in (0, 1, False, "none", "cpu"))
        print(f"  {number + 1:>4}  {first:>5}  {step:>5}  {kept:>5}  {seen:<9}{moment:<46}{layout}", flush=True)

    def _moment(self, kept: int, furthest: int) -> Moment:
        """A place that the next launch reaches before it is `furthest` steps on."""
        ranks, chance = self.layout.ranks, self.chance
        step, saves = kept + chance.randint(1, furthest), chance.randint(1, max(1, furthest // EVERY))
        micro_batches = chance.randint(1, furthest * self.layout.accumulation(self.config.training.batch))
        anyone = chance.randrange(ranks)
        moments = [
            *(Moment(f"train.{point}.{step}", 1, anyone) for point in ("step", "update", "after_update")),
            Moment("micro_batch", micro_batches, ranks - 1),
            Moment("inside_part", saves, anyone),
            *(Moment(f"checkpoint.before_{content}", saves, anyone) for content in ("weights", "state")),
            *(Moment(f"checkpoint.{point}_manifest", saves) for point in ("before", "after")),
        ]
        if kept >= 2 * EVERY:
            moments += [Moment(f"retention.{point}_manifest", saves) for point in ("before", "after")]
        if ranks > 1:
            moments += [Moment(f"checkpoint.{point}_sidecar", saves, ranks - 1) for point in ("before", "after")]
        return chance.choice(moments)

    def _launch(
        self, lake: Lake, moment: Moment | None = None, sign: Callable[[], bool] = bool, seconds: float = 0.0
    ) -> int:
        """Start the run in the layout and wait; kill it at the moment, or if earlier `seconds` after the `sign`."""
        folder = self.folder / f"launch-{len(list(self.folder.glob('launch-*')))}"
        folder.mkdir()
        environment = {"OMP_NUM_THREADS": "1"} | (moment.variables(folder) if moment else {})
        command = launch_command(lake.uri, self.config.key, self.layout, self.folder / "cache")
        command = ["tests.model.support.doomed" if word == "model.train" else word for word in command]
        began, times = time.monotonic(), list[float]()

        def over() -> bool:
            if not times and sign():
                times.append(time.monotonic())
            reached = moment is not None and moment.is_over(folder)
            return reached or (bool(times) and time.monotonic() - times[0] >= seconds)

        status = run_command(command, environment, folder, lake.uri, over)
        self._start = times[0] - began if times and times[0] - began > 1 else self._start
        return status

    def _choose_layout(self) -> None:
        others = [layout for layout in self.story.layouts if layout != self.layout]
        self.layout = self.chance.choice(others or self.story.layouts)

    def _kept(self) -> int | None:
        return max(committed_steps(self.killed, self.config.key), default=None)

    def _begun(self) -> list[int]:
        """The steps from which the launches of the killed run went on."""
        return [event["step"] for event in read_logbook(self.killed, self.config.key) if "layout" in event]

    def _records(self) -> int:
        """How many records of a beginning there are."""
        paths = (entry.path for entry in self.killed.list(f"runs/{self.config.key}/logbook"))
        return sum(path.endswith(("-launch.json", "-resume.json")) for path in paths)


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of each run (50)")
    parser.add_argument("--steps", type=int, default=400, help="of each run (400)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--run", choices=[story.name for story in STORIES], help="only this one")
    chosen = parser.parse_args(arguments)
    print(f"  machine   {machine()}\n  versions  {versions(['torch', 'deepspeed'])}")
    wrong = []
    for story in STORIES:
        if chosen.run in (None, story.name):
            # Kept when it fails, for whoever wants to know why.
            folder = Path(tempfile.mkdtemp(prefix="soak-"))
            soak = Soak(story, folder, chosen.steps, random.Random(f"{chosen.seed} {story.name}"))
            if not soak.go_through(chosen.kills):
                wrong.append(story.name)
    print(f"\nsoak: {'all runs end as unbroken ones' if not wrong else 'WRONG: ' + ', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    sys.exit(main(sys.argv[1:]))
