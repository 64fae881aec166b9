"""Launches of a run for tests: real processes, killed or told to leave at moments of the program.

The moments are places, not times. One process of the native engine is forked from a server that has imported
everything; several ranks are started by the real command. Who reaches a moment is killed there; the launcher is killed
as soon as that is seen, and the other ranks die with it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.store.lake import Lake
from model.layout import Layout
from model.run.config import RunConfig
from model.supervision.launch import launch_command

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 300  # far above what any launch takes
_SERVER = multiprocessing.get_context("forkserver")
# torch loads its compiler when it is told to be deterministic.
_SERVER.set_forkserver_preload(["tests.model.support.doomed", "tests.model.support.forgetful", "torch._inductor"])


@dataclass(frozen=True)
class Moment:
    """Rank `rank` reaches `point` for the `count`-th time in its launch."""

    point: str
    count: int = 1
    rank: int = 0

    def variables(self, folder: Path) -> dict[str, str]:
        """The environment of `tests.model.support.doomed` that has the rank killed there."""
        return {
            "MILLRACE_FAULT": f"{self.point}:{self.count}",
            "MILLRACE_FAULT_FOLDER": str(folder),
            "DOOMED_RANK": str(self.rank),
        }

    def is_over(self, folder: Path) -> bool:
        """Whether the rank was there."""
        tally = folder / "reached"
        return tally.exists() and tally.stat().st_size >= self.count


def launch(
    lake: Lake,
    config: RunConfig,
    layout: Layout,
    folder: Path,
    moment: Moment | None = None,
    program: str = "tests.model.support.doomed",
    variables: Mapping[str, str] | None = None,
) -> int:
    """Start or resume the run and wait for its end; at `moment` all of it is killed. Returns the exit status."""
    folder.mkdir(parents=True)
    environment = {"OMP_NUM_THREADS": "1", **(variables or {}), **(moment.variables(folder) if moment else {})}
    command = launch_command(lake.uri, config.key, layout, folder / "cache")
    if layout.engine == "native":
        return _forked(program, command[command.index("model.train") :], environment, folder / "output")
    command = [program if word == "model.train" else word for word in command]
    return run_command(command, environment, folder, lake.uri, lambda: moment is not None and moment.is_over(folder))


def finish(
    lake: Lake,
    config: RunConfig,
    layout: Layout,
    folder: Path,
    program: str = "tests.model.support.doomed",
    variables: Mapping[str, str] | None = None,
) -> None:
    """Start or resume the run and let it end by itself."""
    status = launch(lake, config, layout, folder, None, program, variables)
    assert status == 0, (status, (folder / "output").read_text()[-4000:])


def run_command(
    command: list[str], environment: dict[str, str], folder: Path, lake_uri: str, over: Callable[[], bool]
) -> int:
    """Run the command of a launch, kill all that it started once it is `over`, and give its exit status."""
    with open(folder / "output", "wb") as output:
        agent = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output, start_new_session=True
        )
    deadline = time.monotonic() + SECONDS
    while agent.poll() is None:
        late = time.monotonic() > deadline
        if late or over():
            os.killpg(agent.pid, signal.SIGKILL)
        assert not late, (folder / "output").read_text()[-4000:]
        time.sleep(0.005)
    while ranks := living(lake_uri):
        assert time.monotonic() < deadline, f"ranks {ranks} outlived their launcher"
        time.sleep(0.01)
    return agent.returncode


def living(lake_uri: str) -> list[int]:
    """Processes of the launches over that lake that are not yet gone."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if lake_uri in (entry / "cmdline").read_text(errors="replace").split("\0"):
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def _forked(program: str, arguments: list[str], environment: dict[str, str], output: Path) -> int:
    process = _SERVER.Process(target=_run, args=(program, arguments, environment, str(output)))
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(output.read_text()[-4000:])
    return process.exitcode


def _run(program: str, arguments: list[str], environment: dict[str, str], output: str) -> None:
    os.setsid()  # a fault kills the whole group
    os.environ.update(environment)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = arguments
    importlib.import_module(program).main()
