"""The log of a run: launches, resumes, checkpoints, errors. One immutable object per event.

An object store cannot append, so each event is its own object. Its name starts with a number above all numbers that
existed when its launch began. The launch and the rank in the name keep two writers from colliding.
"""

from __future__ import annotations

import datetime
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any

from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from infra.store.schema import MOST, Component, Count, Range, Time, read_value

_logger = logging.getLogger("millrace.store")


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
    """All events of a run, in order, without damaged ones, which are logged.

    Each has the fields ``number``, ``time``, ``launch``, ``rank``, ``event`` and ``step``, and those of its kind.
    """
    return list(_events(lake, run))


@dataclass(frozen=True, slots=True)
class _Head:
    """The fields that every event has."""

    number: Count
    time: Time
    launch: str
    rank: Annotated[int, Range(-1, MOST)]  # -1 is the supervisor's
    event: Component
    step: Count


_HEAD = frozenset(field.name for field in fields(_Head))


def _events(lake: Lake, run: str) -> Iterator[dict[str, Any]]:
    for entry in lake.list(_folder(run)):
        where = f"{lake.uri}/{entry.path}"
        try:
            values: dict[str, Any] = read_value(dict[str, Any], lake.read_json(entry.path), where)
            read_value(_Head, {name: value for name, value in values.items() if name in _HEAD}, where)
        except NotThere:  # deleted since the listing
            continue
        except Corrupt as error:
            _logger.warning("%s", error)
            continue
        yield values


def _folder(run: str) -> str:
    return f"runs/{run}/logbook"


def _number(path: str) -> int:
    """The number in the name of an event; 0 for an object that is none."""
    found = re.match(r"(\d{6,12})-", path.rpartition("/")[2])
    return 0 if found is None else int(found[1])
