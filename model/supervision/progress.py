"""How far a run is: one small object that its launch rewrites, for a supervisor that judges it by this alone."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Literal

from infra.store.errors import NotThere
from infra.store.lake import Lake

State = Literal["starting", "training", "stopped", "finished", "failed"]
# A step may take milliseconds; the store is told at most once in this many seconds.
INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """`loss` is that of step `step`, None before the first; `updated` is in POSIX seconds; rate counts all ranks."""

    state: State
    step: int
    steps: int
    loss: float | None
    tokens: int
    tokens_per_second: float | None
    launch: str
    updated: float


class ProgressWriter:
    """Rewrites `runs/<run>/progress.json`; used by rank 0 alone."""

    def __init__(self, lake: Lake, run: str, steps: int, launch: str) -> None:
        self.lake, self.run, self.steps, self.launch = lake, run, steps, launch
        self._written = 0.0
        self._state: State | None = None

    def due(self, state: State) -> bool:
        """Whether INTERVAL has passed since the last one, or that was of another state.

        A launch that hangs soon after its first step must not be taken for one that is still starting.
        """
        return state != self._state or time.monotonic() - self._written >= INTERVAL

    def write(self, state: State, step: int, loss: float | None, tokens: int, tokens_per_second: float | None) -> None:
        """Write now."""
        self._written, self._state = time.monotonic(), state
        progress = Progress(state, step, self.steps, loss, tokens, tokens_per_second, self.launch, time.time())
        self.lake.write_json(_path(self.run), asdict(progress))


def read_progress(lake: Lake, run: str) -> Progress | None:
    """The latest progress of a run, None before its first launch."""
    try:
        return Progress(**lake.read_json(_path(run)))
    except NotThere:
        return None


def _path(run: str) -> str:
    return f"runs/{run}/progress.json"
