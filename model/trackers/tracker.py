"""The tracker interface and the registry of trackers."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from model.configuration import require
from model.observers.observer import Ending

# The environment variable for the folder with offline data; the default is in the launch's cache folder.
TRACKERS_FOLDER = "MILLRACE_TRACKERS"


@dataclass(frozen=True)
class RunDescription:
    """The description of a run for a tracker. `config` is its run.json; `folder` is a local folder for offline data.

    All launches of a run have the same `key`, so a tracker can continue what an earlier launch began.
    """

    key: str
    label: str
    launch: str
    config: dict[str, Any]
    folder: str

    @property
    def name(self) -> str:
        """A short name for people."""
        return f"{self.label}-{self.key[:12]}" if self.label else self.key[:12]


class Tracker(Protocol):
    """A tracker, created with a RunDescription in its own process. Any method may raise or hang."""

    def log(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        """Record values of a step by tag; `time` is in POSIX seconds. Steps may repeat after a resume or rollback."""

    def close(self, ending: Ending) -> None:
        """Deliver the remaining data. Returns when all of it is delivered or stored locally."""


@dataclass(frozen=True)
class TrackerKind:
    """A tracker's class (module:class), the package that it needs, and the optional extra that installs the package."""

    target: str
    package: str
    extra: str


TRACKERS: dict[str, TrackerKind] = {
    "wandb": TrackerKind("model.trackers.wandb:WandbTracker", "wandb", "wandb"),
    "mlflow": TrackerKind("model.trackers.mlflow:MlflowTracker", "mlflow", "mlflow"),
    "trackio": TrackerKind("model.trackers.trackio:TrackioTracker", "trackio", "trackio"),
}


def require_trackers(names: Sequence[str]) -> None:
    """Raise ValueError for an unknown tracker or one that is named twice."""
    for name in names:
        require(name in TRACKERS, f"there is no tracker {name!r}; the trackers are {', '.join(TRACKERS)}")
        require(names.count(name) == 1, f"the tracker {name!r} is named more than once; name it once")


def require_installed(names: Sequence[str]) -> None:
    """As `require_trackers`; also raise ValueError for a tracker whose package is missing. Call it before a launch."""
    require_trackers(names)
    for name in names:
        kind = TRACKERS[name]
        if importlib.util.find_spec(kind.package) is None:
            raise ValueError(
                f"the tracker {name!r} needs the package {kind.package}, which is not installed: "
                f"pip install 'millrace[{kind.extra}]'"
            )


def load_tracker(target: str) -> Callable[[RunDescription], Tracker]:
    """The class at module:class."""
    module, _, name = target.partition(":")
    made: Callable[[RunDescription], Tracker] = getattr(importlib.import_module(module), name)
    return made


def own_folder(run: RunDescription, tracker: str) -> Path:
    """The folder for a tracker's offline data, created."""
    folder = Path(run.folder) / tracker
    folder.mkdir(parents=True, exist_ok=True)
    return folder
