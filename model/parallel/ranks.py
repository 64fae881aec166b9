"""The coordinates of ranks in the mesh of pipeline stages, data ranks and tensor ranks, and their process groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import distributed

from model.layout import Layout


@dataclass(frozen=True)
class MeshCoordinates:
    """The coordinates of a rank. Tensor ranks are neighbours, then data ranks, then stages.

    It is the order of DeepSpeed's `PipeModelDataParallelTopology`, and keeps the busiest group on one machine.
    """

    stage: int
    data: int
    tensor: int


def coordinates_of(rank: int, layout: Layout) -> MeshCoordinates:
    """The coordinates of a rank of the layout."""
    rest, tensor = divmod(rank, layout.tensor)
    stage, data = divmod(rest, layout.data)
    return MeshCoordinates(stage, data, tensor)


class Groups:
    """This rank's process groups, under the names that DeepSpeed asks its `mpu` for.

    "Model parallel" is everything that shares one replica of the model: all stages and tensor ranks of a data rank.
    All ranks must make it at the same moment; `torch.distributed` must have been initialised.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout, self.rank = layout, distributed.get_rank()
        self.coordinates = coordinates_of(self.rank, layout)
        self.tensor = self._group(lambda at: (at.stage, at.data))
        self.data = self._group(lambda at: (at.stage, at.tensor))
        self.model = self._group(lambda at: at.data)
        ends = {0, layout.pipeline - 1}
        # The first and the last stage share the embedding where it is tied to the output.
        self.ends = self._group(lambda at: (at.data, at.tensor) if at.stage in ends else None)

    def _group(self, key: Callable[[MeshCoordinates], Any]) -> Any:
        """The group of the ranks whose coordinates have this rank's key; a rank whose key is None is in none."""
        members: dict[Any, list[int]] = {}
        for rank in range(self.layout.ranks):
            members.setdefault(key(coordinates_of(rank, self.layout)), []).append(rank)
        mine = None
        for found, ranks in members.items():
            if found is not None:
                group = distributed.new_group(ranks)
                mine = group if self.rank in ranks else mine
        return mine

    def get_model_parallel_rank(self) -> int:
        """The tensor rank: DeepSpeed counts what is not cut on the first of them only."""
        return self.coordinates.tensor

    def get_model_parallel_world_size(self) -> int:
        """Tensor ranks."""
        return self.layout.tensor

    def get_model_parallel_group(self) -> Any:
        """Over which the norm of a gradient is added up."""
        return self.model

    def get_tensor_model_parallel_rank(self) -> int:
        """The tensor rank."""
        return self.coordinates.tensor

    def get_tensor_model_parallel_world_size(self) -> int:
        """Tensor ranks."""
        return self.layout.tensor

    def get_tensor_model_parallel_group(self) -> Any:
        """The ranks that cut the same tensors."""
        return self.tensor

    def get_data_parallel_rank(self) -> int:
        """The data rank."""
        return self.coordinates.data

    def get_data_parallel_world_size(self) -> int:
        """Data ranks."""
        return self.layout.data

    def get_data_parallel_group(self) -> Any:
        """The ranks that hold the same tensors and read other sequences."""
        return self.data
