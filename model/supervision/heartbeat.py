"""Heartbeats: the step and phase of each rank's main thread, from which a supervisor finds stuck ranks.

A mark is one small object per rank; each new mark replaces it. A background thread writes it to the store, but only the
main thread makes marks: the last mark of a rank that hangs shows where it hangs.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Literal

from infra.store.errors import StoreError, StoreUnavailable
from infra.store.lake import Lake
from infra.store.schema import Count, Seconds, sound_object

Phase = Literal["starting", "data", "compute", "communication", "saving"]
INTERVAL = 5.0  # seconds between two writes to the store

# In the order of a step: a rank that blocks others is in an earlier phase than they are.
_PLACES: dict[str, str] = {
    "starting": "starting at step {}",
    "data": "reading the sequences of step {}",
    "compute": "computing step {}",
    "communication": "in the gradient exchange of step {}",
    "saving": "saving the checkpoint of step {}",
}
_ORDER = list(_PLACES)


@dataclass(frozen=True, slots=True)
class Mark:
    """A rank of a launch entered `phase` of `step` at `time` (POSIX seconds) on `host`."""

    launch: str
    rank: Count
    step: Count
    phase: Phase
    time: Seconds
    host: str


@dataclass(frozen=True, slots=True)
class Stuck:
    """A rank without a new mark for `seconds`; `mark` is its last, None when it made none in this launch."""

    rank: int
    seconds: float
    mark: Mark | None


class Heartbeat:
    """The marks of one rank of one launch. `launch` is a unique id, the same on all its ranks.

    Use it as `with Heartbeat(...) as heartbeat:` around the work. `beat` is cheap: call it for every micro-batch and
    around every collective.
    """

    def __init__(self, lake: Lake, run: str, rank: int, launch: str, interval: float = INTERVAL) -> None:
        self._lake, self._path = lake, f"{_folder(run)}/{rank}.json"
        self._rank, self._launch, self._interval = rank, launch, interval
        self._host = socket.gethostname()
        self._newest: Mark | None = None
        self._written: Mark | None = None
        self._error: StoreError | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="heartbeat", daemon=True)

    def beat(self, step: int, phase: Phase) -> None:
        """Mark that the main thread enters `phase` of `step`. Raises the StoreError that stopped the writer thread."""
        if self._error is not None:
            raise self._error
        self._newest = Mark(self._launch, self._rank, step, phase, time.time(), self._host)

    def write(self) -> None:
        """Write the newest mark to the store, unless it is already there."""
        newest = self._newest
        if newest is not None and newest is not self._written:
            self._lake.write_json(self._path, asdict(newest))
            self._written = newest

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _carry(self) -> None:
        while not self._over.wait(self._interval):
            try:
                self.write()
            except StoreUnavailable:
                continue  # the next interval writes a newer mark
            except StoreError as error:
                self._error = error
                return


def read_mark(lake: Lake, run: str, rank: int) -> Mark | None:
    """The last mark of a rank in any launch, or None before its first; a damaged mark is none."""
    return sound_object(lake, f"{_folder(run)}/{rank}.json", Mark)


def read_marks(lake: Lake, run: str) -> list[Mark]:
    """The last marks of the newest launch, by rank. Ignores marks of an older launch that had more ranks."""
    found = (sound_object(lake, entry.path, Mark) for entry in lake.list(_folder(run)))
    marks = [mark for mark in found if mark is not None]
    newest = max(marks, key=lambda mark: mark.time, default=None)
    return sorted((mark for mark in marks if newest and mark.launch == newest.launch), key=lambda mark: mark.rank)


def stuck(lake: Lake, run: str, ranks: int, began: float, limit: float, now: float) -> list[Stuck]:
    """The ranks of a launch without a new mark for more than `limit` seconds; ranks that block others come first.

    `began` and `now` are POSIX seconds; marks from before `began` belong to an older launch. Assumes that the machines'
    clocks agree within about a second, far below any sensible limit.
    """
    marks = {mark.rank: mark for mark in read_marks(lake, run) if mark.time >= began}
    found = []
    for rank in range(ranks):
        mark = marks.get(rank)
        seconds = now - (began if mark is None else mark.time)
        if seconds > limit:
            found.append(Stuck(rank, seconds, mark))
    return sorted(found, key=lambda rank: (_place(rank), rank.rank))


def describe(found: Sequence[Stuck]) -> str:
    """A sentence such as: rank 3 (host gpu-7) has been in the gradient exchange of step 41 for 300 s."""
    sentences = []
    for place, group in groupby(found, key=_place):
        stuck_ranks = list(group)
        has = "has" if len(stuck_ranks) == 1 else "have"
        seconds = max(rank.seconds for rank in stuck_ranks)
        hosts = ", ".join(sorted({rank.mark.host for rank in stuck_ranks if rank.mark is not None}))
        ranks = ("rank " if len(stuck_ranks) == 1 else "ranks ") + _spans([rank.rank for rank in stuck_ranks])
        if place[0] < 0:
            sentences.append(f"{ranks} {has} sent no heartbeat for {seconds:.0f} s")
        else:
            where = _PLACES[_ORDER[place[1]]].format(place[0])
            sentences.append(f"{ranks} (host {hosts}) {has} been {where} for {seconds:.0f} s")
    return "; ".join(sentences)


def main(arguments: Sequence[str]) -> None:
    """`python -m model.supervision.heartbeat`: exits with 1 when a rank on this host is stuck; a liveness probe."""
    parser = argparse.ArgumentParser(prog="model.supervision.heartbeat", description=main.__doc__)
    parser.add_argument("--lake", required=True, help="URI of the lake")
    parser.add_argument("--run-key", required=True, help="key of the run")
    parser.add_argument("--limit", required=True, type=float, help="seconds without a mark")
    parsed = parser.parse_args(arguments)
    now, host = time.time(), socket.gethostname()
    marks = [mark for mark in read_marks(Lake(parsed.lake), parsed.run_key) if mark.host == host]
    found = [Stuck(mark.rank, now - mark.time, mark) for mark in marks if now - mark.time > parsed.limit]
    if found:
        sys.exit(describe(sorted(found, key=lambda rank: (_place(rank), rank.rank))))


def _place(one: Stuck) -> tuple[int, int]:
    return (-1, 0) if one.mark is None else (one.mark.step, _ORDER.index(one.mark.phase))


def _spans(ranks: list[int]) -> str:
    """Sorted ranks as text, such as 0 to 3, 5."""
    spans = []
    for _, group in groupby(enumerate(sorted(ranks)), key=lambda pair: pair[1] - pair[0]):
        members = [rank for _, rank in group]
        spans.append(str(members[0]) if len(members) == 1 else f"{members[0]} to {members[-1]}")
    return ", ".join(spans)


def _folder(run: str) -> str:
    return f"runs/{run}/heartbeat"


if __name__ == "__main__":
    main(sys.argv[1:])
