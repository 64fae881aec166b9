"""A run on two ranks whose process tree is killed at ten moments ends in the bits of the unbroken run.

The moments are places in the program, not times. A rank that reaches one is killed there; the launcher is killed as
soon as that is seen, and the other rank dies with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.store.lake import Lake
from model.checkpoint import committed_steps
from model.launch import Layout, launch_command
from model.logbook import read_logbook
from model.losses import read_losses
from model.run import RunConfig
from tests.model.small import same_end, small_run

ROOT = Path(__file__).resolve().parents[2]
LAYOUT = Layout("deepspeed", 2, 2)
EVERY = 4


@dataclass(frozen=True)
class Moment:
    """Kill `rank` in step `step`, when it first reaches the point; the newest checkpoint is then `kept`."""

    point: str
    rank: int
    step: int
    kept: int | None


MOMENTS = [
    Moment("train.before_first_checkpoint", 1, 0, None),
    Moment("inside_part", 0, 0, None),  # while its file of the first save is written
    Moment("checkpoint.before_manifest", 0, 0, None),
    Moment("train.step.2", 1, 2, 0),
    Moment("train.update.5", 0, 5, 4),  # gradients are there, the update is not
    Moment("inside_part", 1, 8, 4),  # the other rank's file may be whole
    Moment("checkpoint.before_manifest", 0, 8, 4),  # both are, the manifest is missing
    Moment("checkpoint.after_manifest", 0, 8, 8),
    Moment("train.step.15", 1, 15, 12),  # the last step before a save
    Moment("train.update.19", 1, 19, 16),
]


def launch(lake: Lake, config: RunConfig, folder: Path, moment: Moment | None, program: str) -> int:
    """Start or resume the run; at `moment` kill all of it. Returns the launcher's exit status."""
    folder.mkdir(parents=True)
    environment = dict(os.environ)
    if moment is not None:
        environment |= {
            "MILLRACE_FAULT": f"{moment.point}:1",
            "MILLRACE_FAULT_FOLDER": str(folder),
            "DOOMED_RANK": str(moment.rank),
        }
    command = [
        program if word == "model.train" else word for word in launch_command(lake.uri, config.key, LAYOUT, folder)
    ]
    with open(folder / "output", "wb") as output:
        agent = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        deadline = time.monotonic() + 120
        reached = folder / "reached"
        while agent.poll() is None:
            if moment is not None and reached.exists():
                os.killpg(agent.pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                os.killpg(agent.pid, signal.SIGKILL)
                agent.wait()
                pytest.fail((folder / "output").read_text()[-4000:])
            time.sleep(0.005)
    while ranks := living(config.key):
        assert time.monotonic() < deadline, f"ranks {ranks} outlived their launcher"
        time.sleep(0.01)
    return agent.returncode


def living(run: str) -> list[int]:
    """Processes of the run that are not yet gone."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if run in (entry / "cmdline").read_text(errors="replace"):
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def finish(lake: Lake, config: RunConfig, folder: Path, program: str = "model.train") -> None:
    assert launch(lake, config, folder, None, program) == 0, (folder / "output").read_text()[-4000:]


def test_killed_at_ten_moments(tmp_path: Path) -> None:
    unbroken, killed = Lake.open(str(tmp_path / "unbroken")), Lake.open(str(tmp_path / "killed"))
    config = small_run(unbroken, tmp_path / "text")
    assert small_run(killed, tmp_path / "text again").key == config.key
    finish(unbroken, config, tmp_path / "unbroken launch")

    for number, moment in enumerate(MOMENTS):
        assert launch(killed, config, tmp_path / f"launch {number}", moment, "tests.model.doomed") != 0, (
            f"{moment} was not reached"
        )
        kept = committed_steps(killed, config.key)
        assert (kept[-1] if kept else None) == moment.kept, moment
        if number == 5:
            forgetful = Lake.open(str(tmp_path / "forgetful"))
            shutil.copytree(killed.uri, forgetful.uri, dirs_exist_ok=True)
    finish(killed, config, tmp_path / "last launch")

    assert same_end(unbroken, killed, config)
    first, last = (read_losses(unbroken, config.key)[step] for step in (0, -1))
    assert first.loss - last.loss >= 0.5
    # Each launch began at the newest good checkpoint that the one before left: at most a save interval is redone.
    begun = [(event["event"], event["step"]) for event in read_logbook(killed, config.key) if "layout" in event]
    assert begun == [
        ("launch", 0),
        *(("launch", 0) if moment.kept is None else ("resume", moment.kept) for moment in MOMENTS),
    ]
    assert all(moment.step - (moment.kept or 0) <= EVERY for moment in MOMENTS)

    # The comparison can fail: the same story, but resumed without the optimizer's moments.
    finish(forgetful, config, tmp_path / "forgetful launch", "tests.model.forgetful")
    assert not same_end(unbroken, forgetful, config)
