"""Trackers that record, raise, hang, die or cannot start."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from model.observers.observer import Ending
from model.trackers.tracker import RunDescription, own_folder


class Recording:
    """Writes what it is told into a file."""

    def __init__(self, run: RunDescription) -> None:
        self._file = (own_folder(run, "recording") / "points.jsonl").open("a", encoding="utf-8")
        self._write(
            {"run": run.key, "launch": run.launch, "sequence_length": run.config["training"]["sequence_length"]}
        )

    def log(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        self._write({"step": step, **scalars})

    def close(self, ending: Ending) -> None:
        self._write({"ending": ending})
        self._file.close()

    def _write(self, value: Mapping[str, object]) -> None:
        self._file.write(json.dumps(value) + "\n")
        self._file.flush()


class Failing(Recording):
    """Its service refuses every point."""

    def log(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        raise ConnectionError("no route to host")

    def close(self, ending: Ending) -> None:
        raise ConnectionError("no route to host")


class Hanging(Recording):
    """Its first point never returns."""

    def log(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        threading.Event().wait()


class Dying(Recording):
    """Its first point ends the process."""

    def log(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        os._exit(3)


class Unready(Recording):
    """It cannot be started."""

    def __init__(self, run: RunDescription) -> None:
        raise PermissionError("no API key")


def points_of(folder: Path) -> list[dict[str, float]]:
    """The points that Recording was told."""
    lines = (folder / "trackers" / "recording" / "points.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
