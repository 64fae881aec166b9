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

    This is the order of DeepSpeed's `PipeModelDataParallelTopology`. It keeps the group with the most communication on
    one machine.
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
    """This rank's process groups, with the method names that DeepSpeed expects of its `mpu`.

    The "model parallel" group is one replica of the model: all stages and tensor ranks of a data rank. Creating it is
    collective: all ranks must do so together, after `torch.distributed` is initialised.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout, self.rank = layout, distributed.get_rank()
        self.coordinates = coordinates_of(self.rank, layout)
        self.tensor = self._group(lambda at: (at.stage, at.data))
        self.data = self._group(lambda at: (at.stage, at.tensor))
        self.model = self._group(lambda at: at.data)
        ends = {0, layout.pipeline - 1}
        # The first and last stage share the embedding if it is tied to the output.
        self.ends = self._group(lambda at: (at.data, at.tensor) if at.stage in ends else None)

    def _group(self, key: Callable[[MeshCoordinates], Any]) -> Any:
        """The group of the ranks with the same key as this rank; None for a rank whose key is None."""
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
        """The tensor rank: DeepSpeed counts replicated parameters on the first tensor rank only."""
        return self.coordinates.tensor

    def get_model_parallel_world_size(self) -> int:
        """The number of tensor ranks."""
        return self.layout.tensor

    def get_model_parallel_group(self) -> Any:
        """The group over which a gradient's norm is summed."""
        return self.model

    def get_tensor_model_parallel_rank(self) -> int:
        """The tensor rank."""
        return self.coordinates.tensor

    def get_tensor_model_parallel_world_size(self) -> int:
        """The number of tensor ranks."""
        return self.layout.tensor

    def get_tensor_model_parallel_group(self) -> Any:
        """The ranks that shard the same tensors."""
        return self.tensor

    def get_data_parallel_rank(self) -> int:
        """The data rank."""
        return self.coordinates.data

    def get_data_parallel_world_size(self) -> int:
        """The number of data ranks."""
        return self.layout.data

    def get_data_parallel_group(self) -> Any:
        """The ranks that hold the same tensors and read different sequences."""
        return self.data
