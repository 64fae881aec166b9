"""Progress of a run: one small object that its launch rewrites. A supervisor needs no other."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Literal

from infra.store.lake import Lake
from infra.store.schema import Count, Seconds, sound_object

State = Literal["starting", "training", "stopped", "finished", "failed"]
# Minimum seconds between two writes to the store: a step may take milliseconds.
INTERVAL = 1.0
# After the store did not answer: each further try may keep a training step waiting for its timeouts.
OUTAGE_INTERVAL = 30.0


@dataclass(frozen=True, slots=True)
class Progress:
    """`loss` is that of step `step`, None before the first. `updated` is in POSIX seconds.

    `tokens_per_second` counts all ranks.
    """

    state: State
    step: Count
    steps: Count
    loss: float | None
    tokens: Count
    tokens_per_second: float | None
    launch: str
    updated: Seconds


class ProgressWriter:
    """Rewrites `runs/<run>/progress.json`; only rank 0 uses it."""

    def __init__(self, lake: Lake, run: str, steps: int, launch: str) -> None:
        self.lake, self.run, self.steps, self.launch = lake, run, steps, launch
        self._written = 0.0
        self._state: State | None = None

    def due(self, state: State) -> bool:
        """Whether INTERVAL has passed since the last write or the state has changed.

        A changed state is due at once: a launch that hangs soon after its first step must not show as starting.
        """
        return state != self._state or time.monotonic() - self._written >= INTERVAL

    def postpone(self, state: State) -> None:
        """The store did not answer: the next progress of this state is due after OUTAGE_INTERVAL."""
        self._state = state
        self._written = time.monotonic() + OUTAGE_INTERVAL - INTERVAL

    def write(self, state: State, step: int, loss: float | None, tokens: int, tokens_per_second: float | None) -> None:
        """Write the progress now."""
        self._written, self._state = time.monotonic(), state
        progress = Progress(state, step, self.steps, loss, tokens, tokens_per_second, self.launch, time.time())
        self.lake.write_json(_path(self.run), asdict(progress))


def read_progress(lake: Lake, run: str) -> Progress | None:
    """The latest progress of a run, or None before its first launch; damaged progress is none."""
    return sound_object(lake, _path(run), Progress)


def _path(run: str) -> str:
    return f"runs/{run}/progress.json"
