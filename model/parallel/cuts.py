"""The part of each tensor that a tensor rank holds, and the blocks of each pipeline stage."""

from __future__ import annotations

from model.architectures.layers import ParallelStyle
from model.state.boxes import Box, whole


def shard(shape: tuple[int, ...], split: ParallelStyle, tensor: int, rank: int) -> Box:
    """The box of a parameter that tensor rank `rank` of `tensor` holds.

    A column-parallel module is sharded along its outputs. A row-parallel module is sharded along its inputs, with the
    bias replicated. An embedding or output layer is sharded along the vocabulary (Shoeybi et al. 2019, section 3).
    Raises ValueError when the dimension is not divisible by `tensor`.
    """
    dimension = {"column": 0, "vocabulary": 0, "row": 1, "replicated": None}[split]
    if tensor == 1 or dimension is None or dimension >= len(shape):
        return whole(shape)
    size, rest = divmod(shape[dimension], tensor)
    if rest:
        raise ValueError(
            f"a {split} dimension of {shape[dimension]} cannot be split into {tensor} equal parts; "
            "choose tensor ranks that divide the heads, the feed-forward width and the vocabulary"
        )
    start = tuple(rank * size if axis == dimension else 0 for axis in range(len(shape)))
    return Box(start, tuple(size if axis == dimension else extent for axis, extent in enumerate(shape)))


def stage_blocks(blocks: int, pipeline: int, stage: int) -> range:
    """The blocks of a stage: contiguous, as equal in number as possible, larger stages first.

    The first stage also has the embedding, the last the head. Raises ValueError for fewer blocks than stages.
    """
    if blocks < pipeline:
        raise ValueError(f"{blocks} blocks cannot fill a pipeline of {pipeline} stages; use at most {blocks} stages")
    size, longer = divmod(blocks, pipeline)
    start = stage * size + min(stage, longer)
    return range(start, start + size + (stage < longer))
