"""Training state in the form that all engines exchange: slices of weights and of AdamW's moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from model.configuration import require
from model.state.boxes import Box
from model.state.kinds import KINDS as KINDS
from model.state.kinds import Kind as Kind


@dataclass(frozen=True, eq=False)
class Slice:
    """The part `box` of the tensor `name`, whose shape is `shape`. `values` are fp32 of shape `box.shape`."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    box: Box
    values: Tensor

    def __post_init__(self) -> None:
        require(
            tuple(self.values.shape) == self.box.shape
            and len(self.box.stop) == len(self.shape)
            and all(stop <= size for stop, size in zip(self.box.stop, self.shape, strict=True)),
            f"{self.kind} of {self.name}: values of shape {tuple(self.values.shape)} do not fit {self.box} in a tensor "
            f"of shape {self.shape}",
        )


# (parameter name, kind, box) -> that box of the tensor, of shape box.shape
ReadState = Callable[[str, Kind, Box], Tensor]
