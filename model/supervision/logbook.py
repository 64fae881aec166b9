"""What happened to a run: launches, resumes, checkpoints, errors; one object for each event, never changed.

An object store cannot append, so an event is an object of its own. Its name begins with a number above all that were
there when its launch began, and holds the launch and rank, so that no two writers can meet.
"""

from __future__ import annotations

import datetime
from typing import Any

from infra.store.lake import Lake


class Logbook:
    """The writer of one rank of one launch. `launch` is any string that no other launch has."""

    def __init__(self, lake: Lake, run: str, launch: str, rank: int) -> None:
        self.lake, self.run, self.launch, self.rank = lake, run, launch, rank
        self._number = max((_number(entry.path) for entry in lake.list(_folder(run))), default=0)

    def write(self, event: str, step: int, **facts: Any) -> None:
        """Record an event at a step with plain values as its facts."""
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
