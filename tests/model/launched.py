"""Started by torchrun on two ranks: what `test_engine.py` asserts, computed in one launch and written as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor

from model.architecture import build, model_config
from model.engine import AdamWConfig, Engine, Slice
from model.engine.deepspeed import DeepSpeedEngine
from model.engine.native import NativeEngine
from model.launch import die_with_parent
from model.trainer import share
from tests.model.small import SHAPES

BATCH, MICRO, ACCUMULATION, STEPS = 8, 2, 2, 20
ADAMW = AdamWConfig((0.9, 0.95), 1e-8, 0.1, 1.0)
Spoil = Callable[[Engine, list[Tensor]], list[Tensor]]


def main() -> None:
    """Run every case and write what was found."""
    die_with_parent()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    found = {
        "pythia": parity("pythia", STEPS, restored=False),
        "llama": parity("llama", STEPS, restored=False),
        "pythia, restored": parity("pythia", STEPS, restored=True),
        "llama, restored": parity("llama", STEPS, restored=True),
        "a rank's data swapped": parity("pythia", 1, restored=False, spoil=swapped),
        "a micro-batch read twice": parity("pythia", 1, restored=False, spoil=repeated),
        "summed": parity("pythia", 1, restored=False, factor=2.0),
    }
    if torch.distributed.get_rank() == 0:
        Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


def parity(
    architecture: str, steps: int, *, restored: bool, spoil: Spoil | None = None, factor: float = 1.0
) -> dict[str, Any]:
    """Two ranks against one process, accumulation 2: losses, and the worst differences of losses, norms and gradients.

    With `restored`, each step of the two ranks begins from the native engine's weights and moments, put there by
    `restore`; without it, both go their own way from the start.
    """
    config = model_config(SHAPES[architecture])
    engine = DeepSpeedEngine(build(config, 1), ADAMW, MICRO, ACCUMULATION)
    native = NativeEngine(build(config, 1), ADAMW)
    losses, gradient, loss_difference, norm_difference = [], 0.0, 0.0, 0.0
    for step, batch in enumerate(batches()[:steps]):
        mine = [batch[list(indices)] for indices in share(range(BATCH), engine.rank, engine.ranks, MICRO)]
        loss = engine.accumulate(mine if spoil is None else spoil(engine, mine))
        expected = native.accumulate(batch.split(MICRO))
        slices = (replace(one, values=one.values * factor) for one in engine.gradients())
        gradient = max(gradient, *worst(engine, slices, native.gradients()).values())
        norm, expected_norm = engine.update(1e-2), native.update(1e-2)
        loss_difference = max(loss_difference, abs(loss - expected))
        norm_difference = max(norm_difference, abs(norm - expected_norm) / expected_norm)
        losses.append(loss)
        if restored:
            held = {(one.name, one.kind): one.values for one in native.state()}
            engine.restore(lambda name, kind, first, length: held[name, kind][first : first + length], step + 1)  # noqa: B023
    engine._engine.destroy()
    return {"losses": losses, "gradient": gradient, "loss": loss_difference, "norm": norm_difference}


def batches() -> list[Tensor]:
    """(BATCH, 33) for each step, all sequences distinct, from a text that can be learnt."""
    text = torch.tensor(list("".join(topics[name] for name in sorted(topics)[:6]).encode()))
    sequences = text.unfold(0, 33, 32)[: STEPS * BATCH]
    assert len({tuple(row.tolist()) for row in sequences}) == STEPS * BATCH
    return list(sequences.split(BATCH))


def worst(engine: Engine, slices: Iterator[Slice], reference: Iterator[Slice]) -> dict[str, float]:
    """max |Δ| / max |reference| of every tensor, over all ranks, which must together hold each element once."""
    whole = {one.name: one.values for one in reference}
    mine: dict[str, tuple[float, int]] = {}
    for one in slices:
        part = whole[one.name][one.offset : one.offset + one.values.numel()]
        difference = (one.values - part).abs().max() / whole[one.name].abs().max()
        mine[one.name] = (difference.item(), one.values.numel())
    found: dict[str, float] = {}
    for name, values in whole.items():
        held = [rank[name] for rank in engine.gather(mine) if name in rank]
        assert sum(count for _, count in held) == values.numel(), name
        found[name] = max(difference for difference, _ in held)
    return found


def swapped(engine: Engine, mine: list[Tensor]) -> list[Tensor]:
    """The second rank reads the sequences of the next step."""
    following = batches()[1]
    return [following[:MICRO], following[MICRO : 2 * MICRO]] if engine.rank == 1 else mine


def repeated(engine: Engine, mine: list[Tensor]) -> list[Tensor]:
    """Every rank reads its first micro-batch again in place of its second."""
    return [mine[0], mine[0]]


if __name__ == "__main__":
    main()
