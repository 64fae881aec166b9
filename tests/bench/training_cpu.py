"""Training steps of the small presets on one CPU thread: our native engine against the same model in transformers."""

from __future__ import annotations

import time

import torch

from model.architectures.registry import model_config
from model.presets import preset
from model.training.determinism import make_deterministic
from tests.bench.measure import ratios
from tests.bench.records import RECORDER, spread
from tests.bench.report import machine, versions
from tests.bench.training import time_sides
from tests.bench.training_agreement import require_same_function, require_same_losses
from tests.bench.training_peers import transformers_model
from tests.bench.training_sides import Case, Ours, Peer
from tests.bench.training_table import show_ratio, show_same, show_side

# Preset, sequences of a step, pairs.
RUNS = (("tiny-pythia", 16, 9), ("tiny-llama", 16, 9), ("pythia-14m", 1, 5))
WANTED = 1.0


def run() -> None:
    """Compare, time and print."""
    RECORDER.start(
        name="training",
        about="full steps (forward, backward, clipping, AdamW) in fp32, eager, one thread, CPU seconds",
        machine=machine(),
        versions=versions(["torch", "transformers"]),
    )
    print("\ntraining_cpu: full steps (forward, backward, clipping, AdamW) in fp32, eager, one thread, CPU seconds")
    print(f"  machine   {machine()}")
    print(f"  versions  {versions(['torch', 'transformers'])}")
    print("  MFU       no figure is claimed: this is not a GPU")
    threads = torch.get_num_threads()
    make_deterministic(threads=1)
    try:
        for name, micro_batch, rounds in RUNS:
            run_case(case_of(name, micro_batch), rounds)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)


def case_of(name: str, micro_batch: int) -> Case:
    """A preset with its own sequence length, in fp32."""
    values = preset(name)
    config = model_config(values["model"])
    return Case(name, config, values["training"]["sequence_length"], micro_batch, "fp32", "cpu")


def run_case(case: Case, rounds: int) -> float:
    """Both sides on one preset; gives the median ratio, with our side as it trains. Raises DifferentOutputs."""
    model = transformers_model(case)
    if model is None:
        raise ModuleNotFoundError("transformers is not installed: pip install 'millrace[bench]'")
    differences = require_same_function(case, model)
    ours, peer = Ours(case), Peer(model, case)
    show_same(case, model.name, differences, require_same_losses(case, ours, peer.side))
    # One step does not last long: CPU time is counted in hundredths of a second on some systems.
    steps = max(1, 2000 // case.tokens(1))
    sides = ours.deterministic, ours.fast, peer.side
    times = time_sides(case, sides, 1, rounds, steps, time.process_time)
    for side, one in zip(sides, times):
        show_side(case, side.name, 1, one, None)
    for side, one in zip(sides[:2], times):
        show_ratio(case, side.name, one, times[2], model.name)
    for side, one in zip(("deterministic", "fast"), times):
        found = ratios(one, times[2])
        RECORDER.set(**{f"{case.name} {side}": spread(found.seconds, found.median).model_dump()})
    median = ratios(times[0], times[2]).median
    verdict = "reached" if median >= WANTED else "missed"
    print(f"  {case.name:<12}bar: {ours.deterministic.name}: at least {WANTED} times: {verdict}")
    return median
