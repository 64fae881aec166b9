"""The checkpoint of another run that a run begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model.configuration import to_plain
from model.run.events import Inherited


@dataclass(frozen=True)
class Origin:
    """The checkpoint of another run whose whole state this run begins with, after `step` steps of it.

    `next_sequence` is where it goes on in its own data: where the other stood, or 0 in other data. `samples` is what
    GPT-NeoX's order was made for where this run goes on in it. `inherited` is what changes and skips had made of the
    other's course by then, None for nothing.
    """

    run: str
    step: int
    digest: str
    next_sequence: int
    samples: int | None = None
    inherited: Inherited | None = None

    def to_plain(self) -> dict[str, Any]:
        """As stored in run.json, where what was not taken over is left out."""
        return {name: value for name, value in to_plain(self).items() if value is not None}
