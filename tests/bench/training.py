"""Full training steps on a GPU: our native engine, the same model in `transformers`, and readable peers.

`python -u -m tests.bench.training` needs PyTorch 2.11 or later, and neither Prefect nor an installed Millrace. A step
is forward, backward, clipping and AdamW. All sides have the same weights, keep them in fp32 beside a copy in the
precision of the products, and are compiled on a GPU, model and loss in one. What they compute is compared before they
are timed: logits and gradients in fp32, then losses as trained. Our side is timed with deterministic kernels, as the
trainer trains, and without; the others without. Both shapes take some eight minutes on an H100, most of it compiling.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from model.architectures.registry import model_config
from model.cost.devices import Device, reported_device
from model.optim.precision import Precision
from model.planning.memory import memory
from model.training.determinism import make_deterministic
from tests.bench.measure import DifferentOutputs, Times, alternate
from tests.bench.training_agreement import require_same_function, require_same_losses
from tests.bench.training_peers import PEERS
from tests.bench.training_sides import Case, Ours, Peer, Side
from tests.bench.training_table import show_bar, show_head, show_memory, show_ratio, show_same, show_side

SHAPES: dict[str, dict[str, Any]] = {
    "1b": {"layers": 16, "width": 2048, "heads": 8},
    "1.4b": {"layers": 24, "width": 2048, "heads": 16},
    "tiny": {"layers": 2, "width": 64, "heads": 4, "vocabulary": 512, "positions": 64},
}
MICRO_BATCHES = (8, 4, 2, 1)  # sequences, of which the most are taken that fit
# The plan counts tensors; the compiler has some of its own, and the allocator leaves gaps.
ROOM = 1.05


def main(arguments: Sequence[str]) -> int:
    """Compare, time and print one table; gives the exit status, 1 when outputs differ."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.training", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--shape", nargs="+", choices=list(SHAPES), default=["1b", "1.4b"])
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="none: our side alone")
    parser.add_argument("--micro-batch", type=int, help="sequences; by default the most of 8, 4, 2, 1 that fits")
    parser.add_argument("--accumulation", nargs="+", type=int, default=[1, 4], help="micro-batches of a step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="micro-batches of a round, in whole steps")
    chosen = parser.parse_args(arguments)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU; --device cpu --shape tiny runs the same code without one")
    make_deterministic(threads=1)
    device = reported_device(torch.cuda.get_device_name()) if chosen.device == "cuda" else None
    precision: Precision = "bf16" if chosen.device == "cuda" else "fp32"
    show_head(chosen.device)
    for shape in chosen.shape:
        config = model_config({"architecture": "pythia", "vocabulary": 50304, "positions": 2048, **SHAPES[shape]})
        case = Case(f"pythia-{shape}", config, config.positions, MICRO_BATCHES[0], precision, chosen.device)
        micro_batch = chosen.micro_batch or fitting_micro_batch(
            case, max(chosen.accumulation), bool(chosen.peers), free_bytes(chosen.device)
        )
        case = replace(case, micro_batch=micro_batch)
        try:
            _run(case, chosen.peers, chosen.accumulation, chosen.rounds, chosen.steps, device)
        except DifferentOutputs as error:
            print(f"  outputs   DIFFER, nothing more is timed: {error}", file=sys.stderr)
            return 1
        # Else what the compiler remembers of this shape would make it take the next one's sizes for variable.
        torch.compiler.reset()
        _free()
    return 0


def time_sides(
    case: Case, sides: Sequence[Side], accumulation: int, rounds: int, steps: int, clock: Callable[[], float]
) -> tuple[Times, ...]:
    """Seconds of one step of each side, in alternating rounds of `steps` steps."""
    batch = case.batch(accumulation)

    def run(side: Side) -> None:
        for _ in range(steps):
            side.step(batch)
        if case.device == "cuda":
            torch.cuda.synchronize()

    times = alternate([partial(run, side) for side in sides], rounds, clock)
    return tuple(Times(tuple(seconds / steps for seconds in one.seconds)) for one in times)


def needed_bytes(case: Case, accumulation: int, beside: bool) -> float:
    """Memory that a step needs, with the weights and the optimizer of a second side `beside` it or not."""
    held = memory(case.config, case.layout, case.precision, case.sequence_length, case.micro_batch * accumulation)
    return ROOM * held.total + (held.weights + held.optimizer if beside else 0.0)


def fitting_micro_batch(case: Case, accumulation: int, beside: bool, free: float) -> int:
    """The most sequences of a micro-batch with which a step fits `free` bytes. Raises ValueError when none does."""
    for micro_batch in MICRO_BATCHES:
        if needed_bytes(replace(case, micro_batch=micro_batch), accumulation, beside) <= free:
            return micro_batch
    raise ValueError(f"{case.name} does not fit {free / 1e9:.0f} GB with one sequence at a time; take a smaller shape")


def free_bytes(device: str) -> float:
    """Memory that is free on the device; of a processor's no account is kept."""
    return torch.cuda.mem_get_info()[0] if device == "cuda" else float("inf")


def _run(
    case: Case, peers: Sequence[str], accumulations: Sequence[int], rounds: int, steps: int, device: Device | None
) -> None:
    needed = needed_bytes(case, max(accumulations), bool(peers))
    print(
        f"\n  {case.name}: {case.config.parameters:,} parameters, {case.precision}, micro-batches of "
        f"{case.micro_batch} × {case.sequence_length} tokens; some {needed / 1e9:.1f} GB for what is held at once"
    )
    ours = Ours(case)
    if case.device == "cuda":
        show_memory(case, ours, max(accumulations))
    taken: dict[tuple[Side, int], list[float]] = {}
    for name in peers:
        try:
            found = _beside(case, ours, name, accumulations, rounds, steps, device)
        except torch.OutOfMemoryError:
            print(f"  {case.name:<12}{name:<14}does not fit beside ours; take a --micro-batch below {case.micro_batch}")
            found = {}
        for key, times in found.items():
            taken.setdefault(key, []).extend(times.seconds)
        _free()
    if not taken:
        sides = ours.fast, ours.deterministic
        for accumulation in accumulations:
            times = time_sides(case, sides, accumulation, rounds, max(1, steps // accumulation), time.perf_counter)
            for side, one in zip(sides, times):
                show_side(case, side.name, accumulation, one, device)
                taken[side, accumulation] = list(one.seconds)
    for (side, accumulation), seconds in taken.items():
        if device is not None:
            show_bar(case, side.name, accumulation, Times(tuple(seconds)), device)


def _beside(
    case: Case,
    ours: Ours,
    name: str,
    accumulations: Sequence[int],
    rounds: int,
    steps: int,
    device: Device | None,
) -> dict[tuple[Side, int], Times]:
    """Our side next to one peer: outputs, then times; gives ours. Nothing of the peer outlives it."""
    model = PEERS[name](case)
    if model is None:
        print(f"  {case.name:<12}{name:<14}absent: it is not installed here")
        return {}
    differences = require_same_function(case, model)
    peer = Peer(model, case)
    losses = require_same_losses(case, ours, peer.side)
    show_same(case, name, differences, losses)
    taken = {}
    for accumulation in accumulations:
        sides = ours.fast, ours.deterministic, peer.side
        times = time_sides(case, sides, accumulation, rounds, max(1, steps // accumulation), time.perf_counter)
        for side, one in zip(sides, times):
            show_side(case, side.name, accumulation, one, device)
        for side, one in zip(sides[:2], times):
            show_ratio(case, side.name, one, times[2], name)
            taken[side, accumulation] = one
    return taken


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
