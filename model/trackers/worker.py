"""`python -m model.trackers.worker MODULE:CLASS STATUS`: the process of one tracker; started by `model.trackers.feed`.

Standard input has one JSON message per line: the RunDescription, then points, then the ending. The file STATUS contains
the numbers of delivered and failed points and the first error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from model.observers.observer import Ending
from model.supervision.launch import die_with_parent
from model.trackers.tracker import RunDescription, Tracker, load_tracker

STATUS_SECONDS = 1.0


class Worker:
    """Feeds a tracker. If the tracker raises, only that point is lost."""

    def __init__(self, status: Path) -> None:
        self._status = status
        self._delivered = self._failed = 0
        self._error = ""
        self._written = 0.0

    def run(self, target: str, lines: Iterable[bytes]) -> None:
        """Read messages until the ending, or until the trainer has ended."""
        messages = map(json.loads, lines)
        tracker = self._open(target, RunDescription(**next(messages)))
        for message in messages:
            if "close" in message:
                self._close(tracker, message["close"])
                break
            self._log(tracker, message)
        else:
            self._close(tracker, "failed")
        self._write()

    def _open(self, target: str, run: RunDescription) -> Tracker | None:
        try:
            return load_tracker(target)(run)
        except Exception as error:  # noqa: BLE001 - report any error of a tracker; it must not end the run
            self._note(error)
            return None

    def _log(self, tracker: Tracker | None, message: dict[str, Any]) -> None:
        try:
            if tracker is not None:
                tracker.log(message["step"], message["time"], message["scalars"])
        except Exception as error:  # noqa: BLE001 - as above
            self._note(error)
            self._failed += 1
        else:
            self._delivered += tracker is not None
            self._failed += tracker is None
        if time.monotonic() - self._written >= STATUS_SECONDS:
            self._write()

    def _close(self, tracker: Tracker | None, ending: Ending) -> None:
        try:
            if tracker is not None:
                tracker.close(ending)
        except Exception as error:  # noqa: BLE001 - as above
            self._note(error)

    def _note(self, error: Exception) -> None:
        self._error = self._error or f"{type(error).__name__}: {error}"
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)

    def _write(self) -> None:
        """Replace the status file atomically, so that a reader never sees half of it."""
        self._written = time.monotonic()
        new = self._status.with_suffix(".new")
        status = {"delivered": self._delivered, "failed": self._failed, "error": self._error}
        new.write_text(json.dumps(status), encoding="utf-8")
        new.replace(self._status)


def main() -> None:
    """Read the command line and run."""
    die_with_parent()
    target, status = sys.argv[1:]
    # Processes that a tracker starts must not hold the trainer's pipe open.
    messages = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    Worker(Path(status)).run(target, messages)


if __name__ == "__main__":
    main()
