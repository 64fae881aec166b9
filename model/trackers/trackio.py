"""Trackio.

The tool's own environment variables apply (TRACKIO_DIR, TRACKIO_PROJECT for the project's name). The run is recorded in
a local database, in the launch's cache folder unless TRACKIO_DIR says otherwise; `trackio show` opens its dashboard.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from model.observers.observer import Ending
from model.trackers.tracker import RunDescription, own_folder


class TrackioTracker:
    """One Trackio run per training run; every launch continues it."""

    def __init__(self, run: RunDescription) -> None:
        # Trackio reads this variable when it is imported.
        os.environ.setdefault("TRACKIO_DIR", str(own_folder(run, "trackio").absolute()))
        import trackio

        self._trackio = trackio
        project = os.environ.get("TRACKIO_PROJECT", "millrace")
        self._run = trackio.init(project=project, name=run.name, config=run.config, resume="allow", embed=False)

    def log(self, step: int, time: float, scalars: Mapping[str, float]) -> None:
        self._trackio.log(dict(scalars), step=step)

    def close(self, ending: Ending) -> None:
        self._trackio.finish()
