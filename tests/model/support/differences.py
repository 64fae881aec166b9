"""How far a layout is from its reference: one number for each kind of tensor and each step, over all ranks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from model.engine import Engine
from model.state.slices import Slice


class Differences:
    """What this rank finds, one entry for each step under each name."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = defaultdict(list)
        self._held: Counter[tuple[str, str]] = Counter()
        self._expected: Counter[tuple[str, str]] = Counter()

    def number(self, name: str, value: float) -> None:
        """Keep a number as it is."""
        self._found[name].append(value)

    def tensors(
        self, name: str, slices: Iterable[Slice], reference: Iterable[Slice], unit: float | None = None
    ) -> None:
        """max |Δ| of every tensor of the reference, in units of `unit` or else of max |reference|: the worst."""
        whole = {one.name: one.values for one in reference}
        worst = torch.zeros(())
        for one in slices:
            part = whole[one.name][tuple(map(slice, one.box.start, one.box.stop))]
            size = scale(one.name, whole) if unit is None else unit
            # Unlike Python's, this maximum keeps what is not a number.
            worst = torch.maximum(worst, (one.values - part).abs().max() / size)
            self._held[name, one.name] += one.values.numel()
        self._expected.update({(name, tensor): values.numel() for tensor, values in whole.items()})
        self._found[name].append(worst.item())

    def of_all_ranks(self, engine: Engine) -> dict[str, list[float]]:
        """The largest on any rank; all ranks together must have held as many elements as the reference has."""
        everyone = engine.gather((dict(self._found), self._held))
        held = sum((counted for _, counted in everyone), Counter())
        assert held == self._expected, {key: (held[key], self._expected[key]) for key in held | self._expected}
        return {
            name: torch.tensor([found[name] for found, _ in everyone], dtype=torch.float64).amax(0).tolist()
            for name in self._found
        }


def scale(name: str, reference: dict[str, Tensor]) -> Tensor:
    """max |reference| of a tensor. That of a key's bias is its query's: softmax does not see what is added to all keys,
    so its gradient is zero but for rounding.
    """
    return reference[name.replace("key.bias", "query.bias")].abs().max()
