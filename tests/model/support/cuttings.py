"""A small training state, cut among ranks in the ways of the engines and in random ones, and saved."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from infra.store.lake import Lake
from model.checkpoints.manifest import Checkpoint
from model.checkpoints.retention import NEWEST_TWO, Retention
from model.checkpoints.saving import Saver
from model.state.boxes import Box, interval, whole
from model.state.slices import KINDS, Kind, Slice

SHAPES = {"embedding.tokens.weight": (6, 4), "layers.0.bias": (7,), "layers.0.weight": (3, 5), "head.scale": ()}
PARAMETERS = 24 + 7 + 15 + 1
State = dict[tuple[str, Kind], Tensor]


def state_at(step: int) -> State:
    """Weights and moments, none of them zero, that differ from step to step."""
    generator = torch.Generator().manual_seed(step)
    return {(name, kind): torch.randn(shape, generator=generator) for name, shape in SHAPES.items() for kind in KINDS}


def streams_at(step: int, rank: int) -> dict[str, Tensor]:
    """The states of a rank's generators."""
    return {"cpu": torch.Generator().manual_seed(100 * step + rank).get_state(), "other": torch.arange(9).byte()}


def cut(state: State, boxes: dict[str, list[list[Box]]]) -> list[list[Slice]]:
    """The slices of each rank, where boxes[name][rank] are those of a tensor that the rank owns."""
    ranks = len(next(iter(boxes.values())))
    return [
        [
            Slice(name, kind, tuple(values.shape), box, values[box.inside(whole(tuple(values.shape)))])
            for (name, kind), values in state.items()
            for box in boxes[name][rank]
        ]
        for rank in range(ranks)
    ]


def uncut() -> dict[str, list[list[Box]]]:
    """All on one rank."""
    return {name: [[whole(shape)]] for name, shape in SHAPES.items()}


def columns_and_intervals(tensor: int, data: int) -> dict[str, list[list[Box]]]:
    """Matrices in columns among `tensor` ranks, and each rank's shard as ZeRO's flat intervals among `data` ranks."""
    boxes = {}
    for name, shape in SHAPES.items():
        shards = [[whole(shape)]] + [[] for _ in range(tensor - 1)]
        if len(shape) == 2:
            ends = [shape[1] * part // tensor for part in range(tensor + 1)]
            shards = [[Box((0, first), (shape[0], last - first))] for first, last in pairwise(ends)]
        boxes[name] = [
            [box for shard in shards[rank // data] for box in _part(shard, rank % data, data)]
            for rank in range(tensor * data)
        ]
    return boxes


def _part(shard: Box, part: int, parts: int) -> list[Box]:
    first, last = (shard.elements * number // parts for number in (part, part + 1))
    return interval(shard, first, last - first)


@st.composite
def cuttings(draw: st.DrawFn) -> dict[str, list[list[Box]]]:
    """Every tensor cut in two at random places again and again, and the pieces dealt out to one to four ranks."""
    ranks = draw(st.integers(1, 4))
    boxes = {}
    for name, shape in SHAPES.items():
        pieces = [whole(shape)]
        for _ in range(draw(st.integers(0, 5))):
            piece = pieces.pop(draw(st.integers(0, len(pieces) - 1)))
            dimensions = [number for number, length in enumerate(piece.shape) if length > 1]
            if not dimensions:
                pieces.append(piece)
                continue
            along = draw(st.sampled_from(dimensions))
            pieces += _halves(piece, along, draw(st.integers(1, piece.shape[along] - 1)))
        owners = [draw(st.integers(0, ranks - 1)) for _ in pieces]
        boxes[name] = [
            [piece for piece, owner in zip(pieces, owners, strict=True) if owner == rank] for rank in range(ranks)
        ]
    return boxes


def _halves(box: Box, along: int, length: int) -> list[Box]:
    def changed(values: tuple[int, ...], value: int) -> tuple[int, ...]:
        return (*values[:along], value, *values[along + 1 :])

    return [
        Box(box.start, changed(box.shape, length)),
        Box(changed(box.start, box.start[along] + length), changed(box.shape, box.shape[along] - length)),
    ]


def savers(
    lake: Lake, cache: Path, ranks: int = 1, launch: str = "launch", retention: Retention = NEWEST_TWO
) -> list[Saver]:
    """A launch's savers, one for each rank, of the run `run`."""
    return [Saver(lake, "run", rank, ranks, launch, cache, retention) for rank in range(ranks)]


def save(
    launched: Sequence[Saver], step: int, boxes: dict[str, list[list[Box]]] | None = None, parent: str | None = None
) -> Checkpoint:
    """Save the state of a step from all ranks, one after the other, and wait for it."""
    slices = cut(state_at(step), boxes or uncut())
    trainer: dict[str, Any] = {"next_sequence": 8 * step, "scaler": {"scale": 65536.0}}
    for saver in launched:
        saver.begin(step, slices[saver.rank], streams_at(step, saver.rank), trainer, parent)
    for saver in reversed(launched):
        committed = saver.finish()
    (checkpoint,) = committed
    return checkpoint


def save_steps(lake: Lake, cache: Path, *steps: int, **changes: Any) -> list[Checkpoint]:
    """One launch of one rank that saves these steps."""
    launched = savers(lake, cache, **changes)
    return [save(launched, step) for step in steps]
