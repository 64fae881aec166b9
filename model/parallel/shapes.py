"""The shapes of a model's parameters, whole and on each rank of a layout, without allocating the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

from model.architectures.architecture import ModelConfig
from model.architectures.layers import ParallelStyle
from model.architectures.registry import ARCHITECTURES, architecture_name, build_empty
from model.layout import Layout
from model.parallel.cuts import shard, stage_blocks

Shape = tuple[int, ...]

# Logical names that all architectures share.
TOKENS, POSITIONS, OUTPUT = "embedding.tokens.weight", "embedding.positions.weight", "head.output.weight"


def local_shapes(config: ModelConfig, layout: Layout, tensor_rank: int, stage: int) -> dict[str, Shape]:
    """Logical names and shapes of the parameters of a tensor rank on a pipeline stage, in any precision.

    The first stage has the embedding, the last the head. A tied output has the embedding's logical name on both. ZeRO
    partitions these shapes further: see `model.planning.memory`. Raises ValueError, naming the dimension, when one is
    not divisible.
    """
    blocks = stage_blocks(config.layers, layout.pipeline, stage)
    embedding, block, head = _parts(config)
    held = dict(embedding) if stage == 0 else {}
    for number in blocks:
        held |= {f"layers.{number}.{name}": shape for name, shape in block.items()}
    if stage == layout.pipeline - 1:
        held |= {_logical(config, name): shape for name, shape in head.items()}
    return {name: _cut(config, name, shape, layout.tensor, tensor_rank) for name, shape in held.items()}


@lru_cache(maxsize=256)
def block_shapes(config: ModelConfig, tensor: int = 1) -> Mapping[str, Shape]:
    """The shapes of a block on a tensor rank, by names such as `attention.output.weight`."""
    _, block, _ = _parts(config)
    return MappingProxyType({name: _cut(config, f"layers.0.{name}", held, tensor, 0) for name, held in block.items()})


def whole_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Logical names and shapes of all parameters; a tied parameter appears once."""
    return local_shapes(config, Layout(), tensor_rank=0, stage=0)


def output_shape(config: ModelConfig, tensor: int = 1) -> Shape:
    """(vocabulary / tensor, width) of the output layer of a tensor rank, tied or not."""
    _, _, head = _parts(config)
    return _cut(config, OUTPUT, head[OUTPUT], tensor, 0)


def elements(shape: Shape) -> int:
    """The number of elements of a tensor of that shape."""
    return math.prod(shape)


def split_of(config: ModelConfig, name: str) -> ParallelStyle:
    """How tensor parallelism shards the module of the parameter with that logical name."""
    return ARCHITECTURES[architecture_name(config)].split(name.rpartition(".")[0])


def _logical(config: ModelConfig, name: str) -> str:
    return TOKENS if name == OUTPUT and _tied(config) else name


def _cut(config: ModelConfig, name: str, shape: Shape, tensor: int, rank: int) -> Shape:
    return shard(shape, split_of(config, name), tensor, rank).shape


@lru_cache(maxsize=256)
def _tied(config: ModelConfig) -> bool:
    model = build_empty(replace(config, layers=1), "meta")
    tokens, output = (model.get_parameter(name) for name in (TOKENS, OUTPUT))
    return tokens is output


@lru_cache(maxsize=256)
def _parts(config: ModelConfig) -> tuple[Mapping[str, Shape], ...]:
    """Shapes of the embedding, one block (names without its number; all blocks are equal) and the head."""
    model = build_empty(replace(config, layers=1), "meta")
    named = {name: tuple(held.shape) for name, held in model.named_parameters(remove_duplicate=False)}
    prefixes = ("embedding.", "layers.0.", "head.")
    kept = ({name: shape for name, shape in named.items() if name.startswith(prefix)} for prefix in prefixes)
    embedding, block, head = kept
    return tuple(
        map(MappingProxyType, (embedding, {name.removeprefix("layers.0."): held for name, held in block.items()}, head))
    )
