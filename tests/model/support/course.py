"""Twenty steps of one process of plain PyTorch, from large weights: what every layout is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor

from model.architectures.opt.model import OptConfig
from model.architectures.registry import model_config
from model.engine.native import NativeEngine
from model.layout import Layout
from model.optim.adamw import AdamWConfig
from model.parallel.stage import Stage
from model.state.boxes import Box
from model.state.slices import ReadState, Slice
from tests.model.support.small import SHAPES

BATCH, STEPS = 8, 20
# Epsilon is above what rounding leaves of a gradient that is zero, as a key's bias has it: of such, AdamW would make as
# much as of any other, and only rounding could be compared.
ADAMW = AdamWConfig((0.9, 0.95), 1e-6, 0.1, 1.0)
RATE = 1e-3  # the loss falls by a nat in 20 steps; at ten times this, attention evens out and its gradients vanish
WARMUP = 4
KINK = 1e-5  # some roundings of values around 1 in fp32, on their way through the layers


@dataclass(frozen=True)
class Step:
    """One step: what it read, (BATCH, 33), what it found, and the state after its update, all of whole tensors."""

    batch: Tensor
    rate: float
    loss: float
    norm: float
    gradients: list[Slice]
    state: list[Slice]


@dataclass(frozen=True)
class Course:
    """The state before the first step, and the steps."""

    start: list[Slice]
    steps: list[Step]


@cache
def course(architecture: str, clip: float) -> Course:
    """The native engine's. No two sequences are the same, and where any is read every ReLU has a derivative."""
    engine = NativeEngine(scaled(Stage(model_config(SHAPES[architecture]), Layout(), seed=1)), ADAMW)
    start, steps = copies(engine.state()), []
    smooth = smooth_sequences(engine)
    for number in range(STEPS):
        batch = torch.stack([next(smooth) for _ in range(BATCH)])
        loss, norm = engine.accumulate(batch.split(2)), engine.gradient_norm()
        gradients = copies(engine.gradients())
        rate = RATE * min(1.0, (number + 1) / WARMUP)
        engine.update(rate, clip)
        steps.append(Step(batch, rate, loss, norm, gradients, copies(engine.state())))
    return Course(start, steps)


def scaled(stage: Stage) -> Stage:
    """Large weights, different everywhere, biases and norms too, so that no term is hidden by zeros and ones.

    Queries and keys most of all: where attention is nearly even, their gradients are what is left of a difference of
    large numbers, and only rounding could be compared.
    """
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in stage.named():
            sigma = 0.2 if name.endswith(("query.weight", "key.weight")) else 0.1
            parameter.add_(torch.randn(parameter.shape, generator=generator) * sigma)
    return stage


def smooth_sequences(engine: NativeEngine) -> Iterator[Tensor]:
    """The text's sequences, (33,), without those that the engine's weights of that moment bring to a ReLU's kink."""
    if not isinstance(engine.stage.config, OptConfig):
        yield from sequences()
        return
    nearest = watch_relu(engine)
    for sequence in sequences():
        engine.evaluate([sequence[None]])
        if nearest() > KINK:
            yield sequence


def watch_relu(engine: NativeEngine) -> Callable[[], float]:
    """Tells, since it was last asked, how near to zero a ReLU's input came: infinitely far without ReLU.

    ReLU has no derivative at zero. Where an input is within rounding of it, two right gradients differ.
    """
    seen: list[float] = []

    def note(module: Any, given: tuple[Tensor], result: Any) -> None:
        seen.append(result.detach().abs().min().item())

    for name, module in engine.stage.named_modules():
        if isinstance(engine.stage.config, OptConfig) and name.endswith("feed_forward.up"):
            module.register_forward_hook(note)

    def nearest() -> float:
        least = min(seen, default=float("inf"))
        seen.clear()
        return least

    return nearest


@cache
def sequences() -> Tensor:
    """(N, 33), all distinct, from a text that can be learnt."""
    text = torch.tensor(list("".join(topics[name] for name in sorted(topics)[:6]).encode()))
    distinct = dict.fromkeys(tuple(row.tolist()) for row in text.unfold(0, 33, 32))
    return torch.tensor(list(distinct))


def batches() -> list[Tensor]:
    """(BATCH, 33) for each step, whatever a ReLU makes of them."""
    return list(sequences()[: STEPS * BATCH].split(BATCH))


def copies(slices: Iterable[Slice]) -> list[Slice]:
    """Slices that no later step changes."""
    return [replace(one, values=one.values.clone()) for one in slices]


def reader(slices: list[Slice]) -> ReadState:
    """What `restore` reads, from slices that are whole tensors."""
    held = {(one.name, one.kind): one for one in slices}

    def read(name: str, kind: Any, box: Box) -> Tensor:
        whole = held[name, kind]
        return whole.values[box.inside(whole.box)]

    return read
