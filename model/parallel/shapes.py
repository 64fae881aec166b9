"""The shapes of a model's parameters, whole and on each rank of a layout, without building the model."""

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
    """Logical name to the shape that the tensor rank holds on that pipeline stage, in fp32 or the precision alike.

    The first stage has the embedding and the last the head; a tied output stands under its logical name, the
    embedding's, on both. ZeRO cuts what is given here further: see `model.planning.memory`. Raises ValueError, naming
    the dimension, when something does not come out even.
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
    """What a tensor rank holds of a block, by names such as `attention.output.weight`."""
    _, block, _ = _parts(config)
    return MappingProxyType({name: _cut(config, f"layers.0.{name}", held, tensor, 0) for name, held in block.items()})


def whole_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Logical name to shape of all parameters, a tied one once."""
    return local_shapes(config, Layout(), tensor_rank=0, stage=0)


def output_shape(config: ModelConfig, tensor: int = 1) -> Shape:
    """(vocabulary / tensor, width) of the output layer of a tensor rank, tied or not."""
    _, _, head = _parts(config)
    return _cut(config, OUTPUT, head[OUTPUT], tensor, 0)


def elements(shape: Shape) -> int:
    """How many elements a tensor of that shape has."""
    return math.prod(shape)


def split_of(config: ModelConfig, name: str) -> ParallelStyle:
    """How tensor parallelism cuts the module to which the parameter of that logical name belongs."""
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
    """Shapes of embedding, block (names without the block's number) and head: all blocks are alike."""
    model = build_empty(replace(config, layers=1), "meta")
    named = {name: tuple(held.shape) for name, held in model.named_parameters(remove_duplicate=False)}
    prefixes = ("embedding.", "layers.0.", "head.")
    kept = ({name: shape for name, shape in named.items() if name.startswith(prefix)} for prefix in prefixes)
    embedding, block, head = kept
    return tuple(
        map(MappingProxyType, (embedding, {name.removeprefix("layers.0."): held for name, held in block.items()}, head))
    )
