"""The checkpoint of another run from which a run continues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model.configuration import to_plain
from model.run.events import Inherited


@dataclass(frozen=True)
class Origin:
    """The checkpoint of another run, after `step` of its steps, whose whole state this run starts from.

    `next_sequence` is the first sequence that this run reads: where the other run stood, or 0 in other data. `samples`
    is the number of samples for which GPT-NeoX's order was built, when this run continues in that order. `inherited` is
    the effect of the other run's events at that step, None without any.
    """

    run: str
    step: int
    digest: str
    next_sequence: int
    samples: int | None = None
    inherited: Inherited | None = None

    def to_plain(self) -> dict[str, Any]:
        """As stored in run.json, without fields that are None."""
        return {name: value for name, value in to_plain(self).items() if value is not None}
