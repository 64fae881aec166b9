"""Started by torchrun: what `test_parity.py` asserts about one world size, computed in one launch, written as JSON."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor, distributed

from model.architecture import model_config
from model.boxes import Box
from model.engine import AdamWConfig, Engine
from model.engine.deepspeed import DeepSpeedEngine, start_ranks
from model.engine.native import NativeEngine
from model.launch import die_with_parent
from model.layout import Layout
from model.parallel.stage import Stage
from model.state import ReadState, Slice
from tests.model.parity_cases import CASES, Case
from tests.model.small import SHAPES

BATCH, STEPS = 8, 20
ADAMW = AdamWConfig((0.9, 0.95), 1e-8, 0.1, 1.0)
RATE = 1e-3  # the loss falls by a nat in 20 steps; at ten times this, attention evens out and its gradients vanish
KINK = 5e-6  # some roundings of values around 1 in fp32, on their way through the layers


def main() -> None:
    """Run every case of this world size and write what was found."""
    die_with_parent()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed  # noqa: F401

    # DeepSpeed collects garbage at every turn; what it has imported by now is none.
    gc.freeze()
    chosen, out = sys.argv[1], Path(sys.argv[2])
    found = {name: run(case) for name, case in CASES[chosen].items()}
    if distributed.get_rank() == 0:
        out.write_text(json.dumps(found), encoding="utf-8")


def run(case: Case) -> dict[str, Any]:
    """The layout against one process: losses, and the worst differences of losses, norms and gradients.

    With `case.restored` each step begins from the native engine's weights and moments, put there by `restore`; without
    it both go their own way from the start.
    """
    config = model_config(SHAPES[case.architecture])
    groups = start_ranks(case.layout)
    accumulation = case.layout.accumulation(BATCH)
    engine = DeepSpeedEngine(Stage(config, case.layout, groups), groups, ADAMW, accumulation)
    native = NativeEngine(scaled(Stage(config, Layout(), seed=1)), ADAMW)
    engine.restore(reader(list(native.state())), 0)
    found: dict[str, Any] = {"losses": [], "gradient": 0.0, "loss": 0.0, "norm": 0.0, "compared": 0}
    nearest = watch_relu(native)
    for step, batch in enumerate(batches()[: case.steps]):
        mine = [batch[list(one)] for one in case.layout.share(range(BATCH), engine.place.data)]
        loss = engine.accumulate(spoil(case.spoiled, engine, mine))
        expected = native.accumulate(batch.split(case.layout.micro_batch * case.layout.data))
        norm, expected_norm = engine.gradient_norm(), native.gradient_norm()
        slices = [replace(one, values=one.values * case.factor) for one in engine.gradients()]
        differences = worst(engine, slices, native.gradients())
        if nearest() > KINK:
            found["compared"] += 1
            found["gradient"] = max(found["gradient"], *differences.values())
        engine.update(RATE, ADAMW.clip)
        native.update(RATE, ADAMW.clip)
        found["loss"] = max(found["loss"], abs(loss - expected) / abs(expected))
        found["norm"] = max(found["norm"], abs(norm - expected_norm) / expected_norm)
        found["losses"].append(loss)
        if case.restored:
            engine.restore(reader(list(native.state())), step + 1)
    found["weights"] = max(worst(engine, weights(engine.state()), weights(native.state())).values())
    engine._engine.destroy()
    del engine
    gc.collect()
    return found


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


def watch_relu(engine: NativeEngine) -> Callable[[], float]:
    """Tells, since it was last asked, how near to zero a ReLU's input came: infinitely far without ReLU.

    ReLU has no derivative at zero. Where an input is within rounding of it, two right gradients differ.
    """
    seen: list[float] = []

    def note(module: Any, given: tuple[Tensor], result: Any) -> None:
        seen.append(result.detach().abs().min().item())

    for name, module in engine.stage.named_modules():
        if engine.stage.config.__class__.__name__ == "OptConfig" and name.endswith("feed_forward.up"):
            module.register_forward_hook(note)

    def nearest() -> float:
        least = min(seen, default=float("inf"))
        seen.clear()
        return least

    return nearest


def reader(slices: list[Slice]) -> ReadState:
    """What `restore` reads, from slices that are whole tensors."""
    held = {(one.name, one.kind): one for one in slices}

    def read(name: str, kind: Any, box: Box) -> Tensor:
        whole = held[name, kind]
        return whole.values[box.inside(whole.box)]

    return read


def weights(slices: Iterator[Slice]) -> list[Slice]:
    """Those that are weights."""
    return [one for one in slices if one.kind == "weight"]


def batches() -> list[Tensor]:
    """(BATCH, 33) for each step, all sequences distinct, from a text that can be learnt."""
    text = torch.tensor(list("".join(topics[name] for name in sorted(topics)[:6]).encode()))
    sequences = text.unfold(0, 33, 32)[: STEPS * BATCH]
    assert len({tuple(row.tolist()) for row in sequences}) == STEPS * BATCH
    return list(sequences.split(BATCH))


def worst(engine: Engine, slices: list[Slice], reference: Any) -> dict[str, float]:
    """max |Δ| / max |reference| of every tensor, over all ranks, which must together hold each element once."""
    whole = {one.name: one.values for one in reference}
    mine: dict[str, list[tuple[float, int]]] = {}
    for one in slices:
        part = whole[one.name][tuple(map(slice, one.box.start, one.box.stop))]
        difference = (one.values - part).abs().max() / scale(one.name, whole)
        mine.setdefault(one.name, []).append((difference.item(), one.values.numel()))
    found: dict[str, float] = {}
    everyone = engine.gather(mine)
    for name, values in whole.items():
        held = [piece for rank in everyone for piece in rank.get(name, [])]
        assert sum(count for _, count in held) == values.numel(), name
        found[name] = max(difference for difference, _ in held)
    return found


def scale(name: str, reference: dict[str, Tensor]) -> Tensor:
    """max |reference| of a tensor. That of a key's bias is its query's: softmax does not see what is added to all keys,
    so its gradient is zero but for rounding.
    """
    return reference[name.replace("key.bias", "query.bias")].abs().max()


def swapped(engine: Engine, mine: list[Tensor]) -> list[Tensor]:
    """The last data rank reads the sequences of the next step."""
    other = batches()[1].split(len(mine[0]))
    return list(other[: len(mine)]) if engine.place.data == 1 else mine


def repeated(engine: Engine, mine: list[Tensor]) -> list[Tensor]:
    """Every rank reads its first micro-batch again in place of the others."""
    return [mine[0]] * len(mine)


def doubled_bias(engine: Engine, mine: list[Tensor]) -> list[Tensor]:
    """Each tensor rank adds the whole row-parallel bias before the sum, so that it counts twice."""
    for module in engine.stage.modules():
        if type(module).__name__ == "RowLinear" and module.bias is not None:
            module.register_forward_hook(lambda made, given, result: result + made.bias)
    return mine


SPOILERS: dict[str, Callable[[Engine, list[Tensor]], list[Tensor]]] = {
    "swapped": swapped,
    "repeated": repeated,
    "doubled bias": doubled_bias,
}


def spoil(how: str, engine: Engine, mine: list[Tensor]) -> list[Tensor]:
    """The rank's micro-batches, or what a mistake would make of them."""
    return SPOILERS[how](engine, mine) if how else mine


if __name__ == "__main__":
    main()
