"""The log of a run: launches, resumes, checkpoints, errors. One immutable object per event.

An object store cannot append, so each event is its own object. Its name starts with a number above all numbers that
existed when its launch began. The launch and the rank in the name keep two writers from colliding.
"""

from __future__ import annotations

import datetime
from typing import Any

from infra.store.lake import Lake


class Logbook:
    """The log writer of one rank of one launch. `launch` is a unique id."""

    def __init__(self, lake: Lake, run: str, launch: str, rank: int) -> None:
        self.lake, self.run, self.launch, self.rank = lake, run, launch, rank
        self._number = max((_number(entry.path) for entry in lake.list(_folder(run))), default=0)

    def write(self, event: str, step: int, **facts: Any) -> None:
        """Record an event at a step; `facts` are plain JSON values."""
        self._number += 1
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        record = {
            "number": self._number,
            "time": now,
            "launch": self.launch,
            "rank": self.rank,
            "event": event,
            "step": step,
            **facts,
        }
        self.lake.write_json(f"{_folder(self.run)}/{self._number:06d}-{self.launch}-{self.rank}-{event}.json", record)


def read_logbook(lake: Lake, run: str) -> list[dict[str, Any]]:
    """All events of a run, in order."""
    return [lake.read_json(entry.path) for entry in lake.list(_folder(run))]


def _folder(run: str) -> str:
    return f"runs/{run}/logbook"


def _number(path: str) -> int:
    return int(path.rpartition("/")[2].partition("-")[0])
