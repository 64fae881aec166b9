"""Which rank stands where: pipeline stage, data rank and tensor rank, and the groups that talk to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import distributed

from model.layout import Layout


@dataclass(frozen=True)
class Place:
    """The coordinates of a rank. Tensor ranks are neighbours, then data ranks, then stages.

    It is the order of DeepSpeed's `PipeModelDataParallelTopology`, and keeps the busiest group on one machine.
    """

    stage: int
    data: int
    tensor: int


def place_of(rank: int, layout: Layout) -> Place:
    """Where a rank of the layout stands."""
    rest, tensor = divmod(rank, layout.tensor)
    stage, data = divmod(rest, layout.data)
    return Place(stage, data, tensor)


class Groups:
    """This rank's process groups, under the names that DeepSpeed asks its `mpu` for.

    "Model parallel" is everything that shares one replica of the model: all stages and tensor ranks of a data rank.
    All ranks must make it at the same moment; `torch.distributed` must have been initialised.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout, self.rank = layout, distributed.get_rank()
        self.place = place_of(self.rank, layout)
        self.tensor = self._group(lambda place: (place.stage, place.data))
        self.data = self._group(lambda place: (place.stage, place.tensor))
        self.model = self._group(lambda place: place.data)
        ends = {0, layout.pipeline - 1}
        # The first and the last stage share the embedding where it is tied to the output.
        self.ends = self._group(lambda place: (place.data, place.tensor) if place.stage in ends else None)

    def _group(self, key: Callable[[Place], Any]) -> Any:
        """The group of the ranks whose place has this rank's key; a rank whose key is None is in none."""
        members: dict[Any, list[int]] = {}
        for rank in range(self.layout.ranks):
            members.setdefault(key(place_of(rank, self.layout)), []).append(rank)
        mine = None
        for found, ranks in members.items():
            if found is not None:
                group = distributed.new_group(ranks)
                mine = group if self.rank in ranks else mine
        return mine

    def get_model_parallel_rank(self) -> int:
        """The tensor rank: DeepSpeed counts what is not cut on the first of them only."""
        return self.place.tensor

    def get_model_parallel_world_size(self) -> int:
        """Tensor ranks."""
        return self.layout.tensor

    def get_model_parallel_group(self) -> Any:
        """Over which the norm of a gradient is added up."""
        return self.model

    def get_tensor_model_parallel_rank(self) -> int:
        """The tensor rank."""
        return self.place.tensor

    def get_tensor_model_parallel_world_size(self) -> int:
        """Tensor ranks."""
        return self.layout.tensor

    def get_tensor_model_parallel_group(self) -> Any:
        """The ranks that cut the same tensors."""
        return self.tensor

    def get_data_parallel_rank(self) -> int:
        """The data rank."""
        return self.place.data

    def get_data_parallel_world_size(self) -> int:
        """Data ranks."""
        return self.layout.data

    def get_data_parallel_group(self) -> Any:
        """The ranks that hold the same tensors and read other sequences."""
        return self.data
