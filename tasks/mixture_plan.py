"""What a run of some steps reads of each source: its share of the tokens, and its passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """A source in a run. Shares sum to 1; `read` and `tokens` count tokens, and `epochs` the passes over the source."""

    source: str
    wanted_share: float
    share: float
    tokens: int
    read: int
    epochs: float


def plan_mixture(summary: Mapping[str, Any], sequences: int, length: int) -> list[SourcePlan]:
    """What the first `sequences` sequences of `length` tokens read, in the native order, of tokens with this summary.

    Whole sequences are drawn from each source, so real shares differ from the wanted ones by less than 1 / 16,384. A
    source without a whole sequence is left out: a run refuses it.
    """
    from model.order.mixture import Mixture
    from model.order.packing import count_windows

    counted = summary["sources"]
    weights = {name: weight for name, weight in summary["mixture"].items() if name in counted}
    windows = {name: count_windows(counted[name]["tokens"], "overlapping", length) for name in weights}
    weights = {name: weight for name, weight in weights.items() if windows[name]}
    if not weights:
        return []
    total = sum(weights.values())
    drawn = Mixture([*weights.values()]).drawn(sequences)
    return [
        SourcePlan(
            name,
            weight / total,
            int(count) / max(sequences, 1),
            counted[name]["tokens"],
            int(count) * length,
            int(count) / windows[name],
        )
        for (name, weight), count in zip(weights.items(), drawn, strict=True)
    ]
