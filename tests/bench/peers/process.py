"""The process in which a peer does its work, and the comparison of our side with it."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.measure import DifferentOutputs, Times, Workload, ratios
from tests.bench.peers.environment import Peer, PeerMissing, environment
from tests.bench.records import RECORDER, Row, spread
from tests.bench.report import machine, print_row, versions

SIDES = Path(__file__).with_name("sides")
_WORKER = Path(__file__).with_name("worker.py")
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Contest:
    """What is compared: `work` in words, at least `floor` times as fast as `peer` does it with the file `side`.

    `ours` does our side's work once, and `outcome` gives what it comes to. `agree` compares that with the peer's
    outcome: it returns how they agree in words, and raises DifferentOutputs. `reported` are the distributions whose
    versions are told, the peer's and ours.
    """

    work: str
    peer: Peer
    title: str
    side: str
    floor: float
    ours: Callable[[], object]
    outcome: Callable[[], Sequence[Any]]
    agree: Callable[[Sequence[Any], Sequence[Any]], str]
    reported: tuple[Sequence[str], Sequence[str]]
    comparable: bool = True


def contest(one: Contest, workload: Workload[Any], given: Path, rounds: int = ROUNDS) -> Row:
    """Compare outputs, time both sides in turn and record a row; a peer that cannot be run is such a row as well.

    The rates are items of the workload a CPU second, of one thread where a side has several. Raises DifferentOutputs.
    """
    about = {"work": one.work, "peer": one.title, "unit": f"{workload.unit}/s", "floor": one.floor}
    try:
        with running(one.peer, one.side, given) as peer:
            agreement = one.agree(one.outcome(), peer.outcome())
            ours, theirs = _alternate(one.ours, peer.work, rounds)
            told = f"{versions(one.reported[1])}; {one.title}: {peer.versions(one.reported[0])}"
    except PeerMissing as error:
        row = Row(
            **about, machine=machine(), versions=versions(one.reported[1]), agreement="not compared", note=str(error)
        )
    else:
        found = ratios(ours, theirs)
        row = Row(
            **about,
            ours=workload.items / ours.median,
            theirs=workload.items / theirs.median,
            ratio=spread(found.seconds, found.median),
            outputs_agree=True if one.comparable else None,
            agreement=agreement,
            versions=told,
            machine=machine(),
        )
    RECORDER.row(row)
    print_row(row)
    return row


def equal(ours: Sequence[Any], theirs: Sequence[Any]) -> str:
    """Agreement of outputs that must be the same. Raises DifferentOutputs naming the first place."""
    ours = json.loads(json.dumps(ours))
    for place, (own, other) in enumerate(zip(ours, theirs)):
        if own != other:
            raise DifferentOutputs(
                f"output {place} differs: millrace gives {own!r:.300}, the peer gives {other!r:.300}"
            )
    if len(ours) != len(theirs) or not ours:
        raise DifferentOutputs(f"millrace gives {len(ours)} outputs, the peer gives {len(theirs)}")
    return f"{len(ours):,} equal"


class _Process:
    def __init__(self, process: subprocess.Popen[str], folder: Path, log: Path) -> None:
        self._process, self._folder, self._log = process, folder, log

    def outcome(self) -> Any:
        file = self._folder / "outcome.json"
        self.ask(f"outcome {file}")
        return json.loads(file.read_text())

    def work(self) -> float:
        return float(self.ask("work"))

    def versions(self, names: Sequence[str]) -> str:
        return str(self.ask(" ".join(["versions", *names])))

    def ask(self, command: str = "") -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            if command:
                print(command, file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
            raise PeerMissing(f"it ended with {self._process.wait()}: {' / '.join(lines[-2:])[-400:]}")
        return json.loads(answer)


@contextmanager
def running(peer: Peer, side: str, given: Path) -> Iterator[_Process]:
    """The peer's process, its input prepared, bound to the first core that this process may use."""
    python = environment(peer)
    with tempfile.TemporaryDirectory(prefix="millrace-peer-") as name:
        folder = Path(name)
        log = folder / "stderr"
        core = min(os.sched_getaffinity(0))
        path = {"PYTHONPATH": str(peer.folder)} if peer.folder else {}
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        with log.open("w") as errors:
            process = subprocess.Popen(
                [str(python), str(_WORKER), str(SIDES / f"{side}.py"), str(given), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=inherited | path | {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"},
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )
        with process:
            try:
                one = _Process(process, folder, log)
                one.ask()
                yield one
            finally:
                process.terminate()


def _alternate(ours: Callable[[], object], peer: Callable[[], float], rounds: int) -> tuple[Times, Times]:
    own: list[float] = []
    theirs: list[float] = []

    def time_ours() -> None:
        gc.collect()
        started = time.process_time()
        ours()
        own.append(time.process_time() - started)

    for number in range(rounds):
        turns: list[Callable[[], object]] = [time_ours, lambda: theirs.append(peer())]
        for turn in turns if number % 2 == 0 else reversed(turns):
            turn()
    return Times(tuple(own)), Times(tuple(theirs))
