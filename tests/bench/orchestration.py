"""What a build costs beside its work: CPU seconds of workers' units, of starting workers, of the driver, of the server.

    python -m tests.bench.orchestration        # some ten minutes on two cores

`millrace build` of JSON Lines (see `tests.bench.scale`) in a new lake, large enough for five CPU minutes of units.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from infra.server.local import local_server
from infra.server.process import STATE_FILE
from infra.store.lake import Lake
from infra.store.manifest import all_manifests
from tests.bench.build_apart import IMPORTS, KEYS, PREFECT, SCHEDULING
from tests.bench.measure import Workload
from tests.bench.records import RECORDER, write_record
from tests.bench.report import print_head
from tests.bench.scale import recipe_of, write_lines

DOCUMENTS = 300_000
# The design allows orchestration so much of the work, from five minutes of work on.
SHARE_WANTED = 0.02
START_WORKERS = "starting workers"
SERVER_START, SERVER = "Prefect's server, its start", "Prefect's server, during the build"
EXIT = "Python's end"
# Paid once by a command or a server, whatever the build: the rest is of the build itself.
FIXED = (IMPORTS, SERVER_START, EXIT)
_LOOK_SECONDS = 0.1
_IDLE_SECONDS = 10.0


def main() -> None:
    """Build, count and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.orchestration", description=__doc__)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write the result into this folder")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as name:
        folder = Path(name)
        (folder / "in").mkdir()
        size = write_lines(folder / "in", chosen.documents)
        given = "sentences of real pages in new combinations"
        workload = Workload(folder, given, chosen.documents, "documents", size, "of text")
        about = f"`millrace build` with {chosen.workers} workers, CPU seconds by what they were for"
        print_head("orchestration", about, workload, ["prefect", "pyarrow"])
        counts = build(folder, chosen.workers)
    found = shares(counts["work"], counts["beside"])
    RECORDER.set(workers=chosen.workers, wanted=SHARE_WANTED, **counts, **found)
    print(f"  work      {counts['work']:.1f} CPU s of {counts['units']} units, wall {counts['wall']:.1f} s")
    for what, seconds in counts["beside"].items():
        print(f"  beside    {seconds:6.2f} s {seconds / counts['work']:7.2%}  {what}")
    print(f"  idle      {counts['idle']:.2f} s of the server's are what it takes when nothing is asked of it")
    for what, share in found.items():
        print(f"  {what:<9} {share:.2%} of the work; wanted {SHARE_WANTED:.0%}")
    if chosen.record:
        write_record(RECORDER.finish("python -m tests.bench.orchestration"), chosen.record)


def build(folder: Path, workers: int) -> dict[str, Any]:
    """Build what lies in `folder`/in: seconds of work and beside it, units, and wall seconds.

    `idle` is what the server takes in that time when nothing is asked of it.
    """
    recipe = folder / "recipe.yaml"  # JSON is YAML
    recipe.write_text(json.dumps(recipe_of(folder / "in")))
    state = folder / "state"
    with local_server(state):
        server = _Server(state)
        idle = server.idle()
        waited = server.seconds()
        started = time.perf_counter()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "tests.bench.build_apart", str(recipe), str(folder / "lake"), str(workers)]
        # Workers do not import the program of the command, so that this one stands for `millrace`.
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, _Tree(process.pid) as tree:
            output, _ = process.communicate()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall = time.perf_counter() - started
        server_seconds = server.seconds()
    driver: dict[str, float] = json.loads(output.splitlines()[-1])
    whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    beside = {
        IMPORTS: driver[IMPORTS],
        PREFECT: driver[PREFECT],
        KEYS: driver[KEYS],
        SCHEDULING: driver[SCHEDULING],
        EXIT: max(0.0, whole - sum(driver.values())),
        START_WORKERS: tree.start,
        SERVER_START: server.start,
        SERVER: server_seconds - waited,
    }
    lake = Lake.open(str(folder / "lake"))
    return {
        "work": round(tree.work, 2),
        "beside": {name: round(seconds, 2) for name, seconds in beside.items()},
        "units": sum(1 for _ in lake.list("markers")),
        "artifacts": len(list(all_manifests(lake))),
        "wall": round(wall, 1),
        "idle": round(idle * wall, 2),
    }


def shares(work: float, beside: Mapping[str, float]) -> dict[str, float]:
    """What stands beside the work, as a share of it: all of it, and without what is paid once a command."""
    own = sum(seconds for name, seconds in beside.items() if name not in FIXED)
    return {"whole": sum(beside.values()) / work, "own": own / work}


class _Tree:
    """Looks at the CPU time of the processes of a command from time to time: what it has seen last counts."""

    def __init__(self, pid: int) -> None:
        self._command = psutil.Process(pid)
        self._seen: dict[tuple[int, float], tuple[bool, float]] = {}
        self._end = threading.Event()

    def __enter__(self) -> _Tree:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def work(self) -> float:
        """Of workers and the programs that they started. A worker begins with its first unit."""
        return sum(seconds for is_worker, seconds in self._seen.values() if is_worker)

    @property
    def start(self) -> float:
        """Of what the workers are forked from, which imports what they need."""
        return sum(seconds for is_worker, seconds in self._seen.values() if not is_worker)

    def _watch(self) -> None:
        while not self._end.wait(_LOOK_SECONDS):
            try:
                for child in self._command.children():
                    self._look(child, is_worker=False)
                    for worker in child.children(recursive=True):
                        self._look(worker, is_worker=True)
            except psutil.Error:
                continue

    def _look(self, process: psutil.Process, *, is_worker: bool) -> None:
        try:
            self._seen[process.pid, process.create_time()] = is_worker, _seconds(process)
        except psutil.Error:
            return


class _Server:
    """The server of a state folder and its keeper. `start` is their CPU time until they answered."""

    def __init__(self, state: Path) -> None:
        keeper = psutil.Process(json.loads((state / STATE_FILE).read_text())["keeper"])
        self._processes = [keeper, *keeper.children(recursive=True)]
        self.start = self.seconds()

    def idle(self) -> float:
        """Their CPU time in a second in which nothing is asked of them."""
        before = self.seconds()
        time.sleep(_IDLE_SECONDS)
        return (self.seconds() - before) / _IDLE_SECONDS

    def seconds(self) -> float:
        """Their CPU time so far."""
        return sum(map(_seconds, self._processes))


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
