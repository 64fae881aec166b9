"""The weights of two runs, tensor by tensor, whatever the layouts under which they were written."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from infra.store.lake import Lake
from model.checkpoints.files import StateReader, open_state
from model.checkpoints.manifest import committed_steps, read_checkpoint
from model.state.boxes import whole


@dataclass(frozen=True)
class TensorDifference:
    """A tensor whose bits differ: the largest |a - b|, and that over the largest |a|; None for what is not finite."""

    name: str
    largest: float | None
    relative: float | None


@dataclass(frozen=True)
class Weights:
    """The weights at the newest step of which both runs have a checkpoint.

    `digests` are of names, shapes and values, whatever the layout; `alone` are the tensors that only one run has, or
    has in that shape.
    """

    step: int
    digests: tuple[str, str]
    tensors: tuple[TensorDifference, ...]
    alone: tuple[str, ...]


def compare_weights(first: tuple[Lake, str], second: tuple[Lake, str], cache: Path) -> Weights | None:
    """The weights of two runs, each given by its lake and key, side by side; None when no step has both checkpoints.

    `cache` holds local copies meanwhile. Raises Corrupt for a checkpoint that is not as it was written.
    """
    steps = set(committed_steps(*first)) & set(committed_steps(*second))
    if not steps:
        return None
    step = max(steps)
    checkpoints = [read_checkpoint(lake, run, step) for lake, run in (first, second)]
    with open_state(first[0], checkpoints[0], cache) as ours, open_state(second[0], checkpoints[1], cache) as theirs:
        shapes = (ours.shapes(), theirs.shapes())
        digests = (hashlib.sha256(), hashlib.sha256())
        tensors, alone = [], []
        for name in sorted({**shapes[0], **shapes[1]}):
            # One tensor at a time: a run's weights may be larger than memory.
            pair = [_weight(state, name, shape) for state, shape in zip((ours, theirs), shapes, strict=True)]
            for digest, weight in zip(digests, pair, strict=True):
                if weight is not None:
                    digest.update(f"{name} {tuple(weight.shape)} ".encode())
                    digest.update(weight.contiguous().numpy().tobytes())
            if pair[0] is None or pair[1] is None or pair[0].shape != pair[1].shape:
                alone.append(name)
            elif not torch.equal(pair[0].view(torch.int32), pair[1].view(torch.int32)):
                tensors.append(_difference(name, pair[0], pair[1]))
    return Weights(step, (digests[0].hexdigest(), digests[1].hexdigest()), tuple(tensors), tuple(alone))


def _weight(state: StateReader, name: str, shapes: dict[str, tuple[int, ...]]) -> Tensor | None:
    return state.read(name, "weight", whole(shapes[name])) if name in shapes else None


def _difference(name: str, a: Tensor, b: Tensor) -> TensorDifference:
    largest, scale = float((a.double() - b.double()).abs().max()), float(a.double().abs().max())
    relative = largest / scale if scale else float(largest > 0)
    # JSON has no number for what a run that diverged leaves.
    return TensorDifference(name, *(value if math.isfinite(value) else None for value in (largest, relative)))
