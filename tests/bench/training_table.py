"""What the training benchmark prints: rows of tokens/s and utilisation, ratios, the bar, and what a plan expected."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform

import torch

from model.cost.devices import Device
from model.cost.flops import mfu, model_flops
from model.planning.memory import memory
from model.planning.speed import step_time
from tests.bench.measure import Times, ratios
from tests.bench.training_sides import Case, Ours

# Of the device's dense bf16 peak, in the full-attention convention.
WANTED, HOPED = 0.45, 0.55


def show_head(device: str) -> None:
    """The machine, the versions, and what is counted how."""
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        machine = f"{properties.name}, {properties.total_memory / 1e9:.1f} GB, CUDA {torch.version.cuda}"
        step = "forward, backward, clipping, fused AdamW on fp32 weights, torch.compile"
    else:
        machine = f"{platform.machine()}, {torch.get_num_threads()} threads"
        step = "forward, backward, clipping, AdamW, eager"
    found = [f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    for name in ("transformers", "litgpt"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    print(f"\ntraining: full steps, {step}")
    print(f"  machine   {machine}")
    print(f"  versions  {', '.join(found)}")
    if device == "cuda":
        print("  MFU       6 × (parameters - token embedding) + 12 L d S FLOPs a token (full attention), beside it the")
        print("            causal half of 12 L d S; of the dense peak of the data sheet; recomputation never counts")
    else:
        print("  MFU       no figure is claimed: this is not a GPU")


def show_same(case: Case, name: str, differences: tuple[float, float], losses: tuple[float, float]) -> None:
    """How near the outputs of both sides are."""
    of_logits, of_gradients = differences
    first, second = losses
    print(
        f"  {case.name:<12}outputs as of {name}: logits within {of_logits:.1e}, gradients within {of_gradients:.1e} of "
        f"the largest in fp32; as trained, loss {first:.5f}, then {second:.5f}, within rounding"
    )


def show_side(case: Case, name: str, accumulation: int, times: Times, device: Device | None) -> None:
    """One row: tokens/s, and the utilisation in both conventions where the device's peak is known."""
    least, most = times.spread()
    rate = case.tokens(accumulation) / times.median
    row = f"  {case.name:<12}{name:<24}{accumulation:>2} micro-batch{'es' if accumulation > 1 else '  '}"
    row += f"{rate:>10,.0f} tokens/s  {times.median * 1e3:>9,.1f} ms a step ({least * 1e3:,.1f} to {most * 1e3:,.1f})"
    if case.device == "cuda":
        row += f"  {_utilisation(case, rate, device)}"
    print(row, flush=True)


def show_ratio(case: Case, name: str, ours: Times, peer: Times, peer_name: str) -> None:
    """How many times faster we are, of pairs."""
    of_pairs = ratios(ours, peer)
    least, most = of_pairs.spread()
    spread = f"({least:.2f} to {most:.2f}, {len(of_pairs.seconds)} pairs)"
    print(f"  {case.name:<12}{name:<24}{of_pairs.median:.2f} times as fast as {peer_name} {spread}", flush=True)


def show_memory(case: Case, ours: Ours, accumulation: int) -> None:
    """The memory of tensors in a step of ours, beside the plan's. It is also what compiles our side."""
    batch = case.batch(accumulation)
    planned = memory(
        case.config, case.layout, case.precision, case.sequence_length, case.micro_batch * accumulation
    ).total
    for side in (ours.fast, ours.deterministic):
        side.step(batch)
        torch.cuda.reset_peak_memory_stats()
        side.step(batch)
        taken = torch.cuda.max_memory_allocated()
        print(
            f"  {case.name:<12}{side.name:<24}{accumulation:>2} micro-batches: {taken / 1e9:.1f} GB of tensors at most "
            f"(planned {planned / 1e9:.1f}), with nothing beside it",
            flush=True,
        )


def show_bar(case: Case, name: str, accumulation: int, times: Times, device: Device) -> None:
    """Whether the utilisation that is wanted was reached, and what a plan expected."""
    flops, peak = model_flops(case.config, case.sequence_length), device.peak(case.precision)
    tokens = case.tokens(accumulation)
    share = mfu(tokens / times.median, flops, peak)
    if share is None:
        return
    verdict = "missed" if share < WANTED else "reached" if share < HOPED else f"reached, and the {HOPED:.0%} hoped for"
    batch = case.micro_batch * accumulation
    planned = tokens / step_time(case.config, case.layout, case.precision, device, case.sequence_length, batch).total
    print(
        f"  {case.name:<12}bar: {name}, micro-batches {accumulation}: MFU of at least {WANTED:.0%}: {verdict}, "
        f"{share:.1%} (planned {planned:,.0f} tokens/s, {mfu(planned, flops, peak):.1%})",
        flush=True,
    )


def _utilisation(case: Case, rate: float, device: Device | None) -> str:
    peak = None if device is None else device.peak(case.precision)
    full, causal = (
        mfu(rate, model_flops(case.config, case.sequence_length, attention), peak) for attention in ("full", "causal")
    )
    if full is None:
        return "MFU unknown: no peak is known for this device"
    return f"MFU {full:.1%} (causal {causal:.1%})"
