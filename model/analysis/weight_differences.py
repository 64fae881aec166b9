"""Compares the weights of two runs, tensor by tensor, independent of the layouts that wrote them."""

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
    """A tensor whose bits differ: `largest` |a - b|, and `relative`, that over the largest |a|; None if not finite."""

    name: str
    largest: float | None
    relative: float | None


@dataclass(frozen=True)
class Weights:
    """The weights at the newest step with a checkpoint in both runs.

    `digests` cover names, shapes and values, independent of the layout. `alone` names the tensors that only one run
    has, or that differ in shape.
    """

    step: int
    digests: tuple[str, str]
    tensors: tuple[TensorDifference, ...]
    alone: tuple[str, ...]


def compare_weights(first: tuple[Lake, str], second: tuple[Lake, str], cache: Path) -> Weights | None:
    """Compare the weights of two runs, each given by its lake and key; None when no step has both checkpoints.

    `cache` is a folder for temporary local copies. Raises Corrupt for a checkpoint whose bytes have changed.
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
    # JSON has no NaN or infinity, which a diverged run leaves.
    return TensorDifference(name, *(value if math.isfinite(value) else None for value in (largest, relative)))
