"""Training steps of the small presets on one CPU thread: our native engine against the same model in transformers."""

from __future__ import annotations

import time

import torch

from model.architecture import model_config
from model.presets import preset
from tests.bench.measure import ratios
from tests.bench.report import machine, versions
from tests.bench.training import Case, Ours, compare, require_same_losses, show_ratio, show_side, transformers_side

# Preset, sequences of a step, pairs.
RUNS = (("tiny-pythia", 16, 9), ("tiny-llama", 16, 9), ("pythia-14m", 1, 5))
WANTED = 1.0


def run() -> None:
    """Compare, time and print."""
    print("\ntraining_cpu: full steps (forward, backward, clipping, AdamW) in fp32, eager, one thread, CPU seconds")
    print(f"  machine   {machine()}")
    print(f"  versions  {versions(['torch', 'transformers'])}")
    print("  MFU       no figure is claimed: this is not a GPU")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, micro_batch, rounds in RUNS:
            run_case(case_of(name, micro_batch), rounds)
    finally:
        torch.set_num_threads(threads)


def case_of(name: str, micro_batch: int) -> Case:
    """A preset with its own sequence length, in fp32."""
    values = preset(name)
    config = model_config(values["model"])
    return Case(name, config, values["training"]["sequence_length"], micro_batch, "fp32", "cpu")


def run_case(case: Case, rounds: int) -> float:
    """Both sides on one preset; gives the median ratio. Raises DifferentOutputs."""
    ours = Ours(case)
    peer = transformers_side(case, ours.weights)
    if peer is None:
        raise ModuleNotFoundError("transformers is not installed: pip install 'millrace[bench]'")
    require_same_losses(case, ours, peer)
    # One step does not last long: CPU time is counted in hundredths of a second on some systems.
    steps = max(1, 2000 // case.tokens)
    ours_times, peer_times = compare(case, ours, peer, rounds, steps, time.process_time)
    show_side(case, ours.name, ours_times, None)
    show_side(case, peer.name, peer_times, None)
    show_ratio(case, ours_times, peer_times, peer.name)
    median = ratios(ours_times, peer_times).median
    print(f"  {case.name:<14}bar           at least {WANTED} times: {'reached' if median >= WANTED else 'missed'}")
    return median
