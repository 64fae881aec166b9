"""Full training steps: our native engine, the same model in `transformers`, and litgpt's where it is installed.

`python -m tests.bench.training` is for a GPU; it needs PyTorch 2.11 or later, and neither Prefect nor an installed
Millrace. A step is forward, backward, clipping and AdamW. All sides have the same weights, keep them in fp32 beside
a copy in the precision of the products, and are compiled on a GPU. Their losses are compared before they are timed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import importlib.metadata
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from model.architecture import ModelConfig, architecture_name, model_config
from model.cost.devices import reported_device
from model.cost.flops import mfu, model_flops
from model.engine import DTYPES, AdamWConfig, Precision
from model.engine.native import NativeEngine
from model.layout import Layout
from model.parallel.stage import Stage
from tests.bench.measure import DifferentOutputs, Times, alternate, ratios

OPTIMIZER = AdamWConfig(betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.1, clip=1.0)
LEARNING_RATE = 2e-4
SEED = 1234
# Relative difference of losses before and after an update: rounding, and nothing else.
TOLERANCE: dict[Precision, float] = {"fp32": 1e-5, "bf16": 1e-2, "fp16": 1e-2}
# Of the device's dense bf16 peak, in the full-attention convention.
WANTED, HOPED = 0.45, 0.55
SHAPES: dict[str, dict[str, Any]] = {
    "1b": {"layers": 16, "width": 2048, "heads": 8},
    "1.4b": {"layers": 24, "width": 2048, "heads": 16},
    "tiny": {"layers": 2, "width": 64, "heads": 4, "vocabulary": 512, "positions": 64},
}


@dataclass(frozen=True)
class Case:
    """One model and one batch: `micro_batch` sequences of `sequence_length` predicted tokens."""

    name: str
    config: ModelConfig
    sequence_length: int
    micro_batch: int
    precision: Precision
    device: Literal["cpu", "cuda"]

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.sequence_length * self.micro_batch

    def batch(self) -> Tensor:
        """Random tokens (B, S + 1), int64, always the same."""
        generator = torch.Generator().manual_seed(SEED)
        shape = (self.micro_batch, self.sequence_length + 1)
        return torch.randint(self.config.vocabulary, shape, generator=generator).to(self.device)


class Side(Protocol):
    """One implementation of the training step."""

    name: str

    def step(self, tokens: Tensor) -> float:
        """Train on tokens (B, S + 1); gives the loss before the update."""
        ...


class Ours:
    """The native engine, as the trainer uses it."""

    name = "millrace"

    def __init__(self, case: Case) -> None:
        layout = Layout(micro_batch=case.micro_batch, device=case.device)
        self.stage = Stage(case.config, layout, seed=SEED)
        self.weights = {name: value.detach().cpu().clone() for name, value in self.stage.named()}
        self._engine = NativeEngine(self.stage, OPTIMIZER, case.precision)

    def step(self, tokens: Tensor) -> float:
        loss = self._engine.accumulate([tokens])
        self._engine.gradient_norm()
        self._engine.update(LEARNING_RATE, OPTIMIZER.clip)
        return loss


class Peer:
    """Another implementation of the model in the plainest good training step: the arithmetic is that of our engine."""

    def __init__(self, name: str, model: nn.Module, logits: Callable[[Any], Tensor], case: Case) -> None:
        self.name = name
        self._model = model.to(case.device).train()
        cast = case.precision != "fp32"
        self._masters = [parameter.detach().clone() for parameter in model.parameters()] if cast else []
        if cast:
            self._model.to(DTYPES[case.precision])
        self._computed = list(self._model.parameters())
        self._trained = [nn.Parameter(master) for master in self._masters] or self._computed
        groups = [
            {"params": [one for one in self._trained if one.ndim >= 2], "weight_decay": OPTIMIZER.weight_decay},
            {"params": [one for one in self._trained if one.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(
            groups, lr=LEARNING_RATE, betas=OPTIMIZER.betas, eps=OPTIMIZER.epsilon, fused=case.device == "cuda"
        )
        self._forward = torch.compile(self._model) if case.device == "cuda" else self._model
        self._logits = logits

    def step(self, tokens: Tensor) -> float:
        # As `transformers` and litgpt take it, in fp32.
        logits = self._logits(self._forward(tokens[:, :-1])).float()
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        if self._masters:
            for computed, trained in zip(self._computed, self._trained):
                assert computed.grad is not None
                trained.grad, computed.grad = computed.grad.float(), None
        nn.utils.clip_grad_norm_(self._trained, OPTIMIZER.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._masters:
            with torch.no_grad():
                for computed, trained in zip(self._computed, self._trained):
                    computed.copy_(trained)
        return loss.item()


def transformers_side(case: Case, weights: Mapping[str, Tensor]) -> Side | None:
    """The model's class in `transformers` with PyTorch's fused attention; None where it is not installed."""
    transformers = _importable("transformers")
    if transformers is None:
        return None
    from model.huggingface.configuration import config_there
    from model.huggingface.weights import SpecialTokens

    values = config_there(case.config, SpecialTokens(), "float32")
    kind = values.pop("model_type")
    config = transformers.AutoConfig.for_model(kind, **values, use_cache=False)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    named = _names_there(case.config, weights)
    if "embed_out.weight" in named and "embed_out.weight" not in model.state_dict():
        named["lm_head.weight"] = named.pop("embed_out.weight")
    model.load_state_dict(named)
    return Peer("transformers", model, lambda output: output.logits, case)


def litgpt_side(case: Case, weights: Mapping[str, Tensor]) -> Side | None:
    """litgpt's model of the same shape; None where it is not installed, and for other families than Pythia."""
    litgpt = _importable("litgpt")
    if litgpt is None or architecture_name(case.config) != "pythia":
        return None
    config: Any = case.config
    shape = litgpt.Config(
        name=case.name,
        block_size=config.positions,
        n_layer=config.layers,
        n_head=config.heads,
        n_embd=config.width,
        vocab_size=config.vocabulary,
        padded_vocab_size=config.vocabulary,
        rotary_percentage=config.rotary_fraction,
        gelu_approximate="tanh" if config.gelu == "tanh" else "none",
        norm_eps=config.norm_epsilon,
    )
    model = litgpt.GPT(shape)
    named: dict[str, Tensor] = {}
    convert = importlib.import_module("litgpt.scripts.convert_hf_checkpoint")
    convert.copy_weights_gpt_neox(shape, named, _names_there(case.config, weights))
    model.load_state_dict(named)
    return Peer("litgpt", model, lambda logits: logits, case)


def require_same_losses(case: Case, ours: Side, peer: Side) -> tuple[float, float]:
    """The losses of two steps on one batch, which all sides must share. Raises DifferentOutputs."""
    tokens = case.batch()
    found = [(side.step(tokens), side.step(tokens)) for side in (ours, peer)]
    for place, (left, right) in enumerate(zip(*found)):
        if not abs(left - right) <= TOLERANCE[case.precision] * abs(left):
            raise DifferentOutputs(
                f"{case.name}: loss after {place} updates is {left!r} in {ours.name} and {right!r} in {peer.name}"
            )
    return found[0]


def compare(
    case: Case, ours: Ours, peer: Side, rounds: int, steps: int, clock: Callable[[], float]
) -> tuple[Times, Times]:
    """Seconds of one step of both sides, in alternating rounds of `steps` steps."""
    tokens = case.batch()

    def run(side: Side) -> None:
        for _ in range(steps):
            side.step(tokens)
        if case.device == "cuda":
            torch.cuda.synchronize()

    times = alternate(lambda: run(ours), lambda: run(peer), rounds, clock)
    return tuple(Times(tuple(seconds / steps for seconds in one.seconds)) for one in times)  # type: ignore[return-value]


def show_side(case: Case, name: str, times: Times, peak: float | None) -> None:
    """One row: tokens/s, and the utilisation in both conventions where the device's peak is known."""
    least, most = times.spread()
    rate = case.tokens / times.median
    row = f"  {case.name:<14}{name:<14}{rate:>10,.0f} tokens/s  {times.median * 1e3:>9,.1f} ms a step"
    row += f" ({least * 1e3:,.1f} to {most * 1e3:,.1f})"
    if case.device == "cuda":
        row += f"  {_utilisation(case, rate, peak)}"
    print(row)


def show_ratio(case: Case, ours: Times, peer: Times, name: str) -> None:
    """How many times faster we are, of pairs."""
    of_pairs = ratios(ours, peer)
    least, most = of_pairs.spread()
    spread = f"({least:.2f} to {most:.2f}, {len(of_pairs.seconds)} pairs)"
    print(f"  {case.name:<14}ratio         {of_pairs.median:.2f} times as fast as {name} {spread}")


def main(arguments: Sequence[str]) -> int:
    """Compare, time and print one table; gives the exit status, 1 when outputs differ."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.training", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--shape", nargs="+", choices=list(SHAPES), default=["1b", "1.4b"])
    parser.add_argument("--micro-batch", type=int, default=8, help="sequences of a step")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="steps of a round")
    parser.add_argument("--deterministic", action="store_true", help="deterministic kernels, as the trainer asks for")
    chosen = parser.parse_args(arguments)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU; --device cpu --shape tiny runs the same code without one")
    precision: Precision = "bf16" if chosen.device == "cuda" else "fp32"
    _show_head(chosen.device, chosen.deterministic)
    torch.use_deterministic_algorithms(chosen.deterministic)
    for shape in chosen.shape:
        config = model_config({"architecture": "pythia", "vocabulary": 50304, "positions": 2048, **SHAPES[shape]})
        case = Case(f"pythia-{shape}", config, config.positions, chosen.micro_batch, precision, chosen.device)
        try:
            _run(case, chosen.rounds, chosen.steps)
        except DifferentOutputs as error:
            print(f"  outputs   DIFFER, nothing is timed: {error}", file=sys.stderr)
            return 1
    return 0


def _run(case: Case, rounds: int, steps: int) -> None:
    print(f"  {case.name}: {case.config.parameters:,} parameters, {case.micro_batch} × {case.sequence_length} tokens")
    device = reported_device(torch.cuda.get_device_name()) if case.device == "cuda" else None
    peak = None if device is None else device.peak(case.precision)
    taken: list[float] = []
    for name, make in (("transformers", transformers_side), ("litgpt", litgpt_side)):
        ours = Ours(case)
        peer = make(case, ours.weights)
        if peer is None:
            print(f"  {case.name:<14}{name:<14}absent: it is not installed here")
            continue
        # It compiles both, too.
        first, second = require_same_losses(case, ours, peer)
        print(f"  {case.name:<14}outputs       as of {name}: loss {first:.5f}, then {second:.5f}, within rounding")
        ours_times, peer_times = compare(case, ours, peer, rounds, steps, time.perf_counter)
        show_side(case, ours.name, ours_times, peak)
        show_side(case, name, peer_times, peak)
        show_ratio(case, ours_times, peer_times, name)
        taken += ours_times.seconds
        del ours, peer
        _free()
    ours = Ours(case)
    ours.step(case.batch())
    if case.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    alone, _ = compare(case, ours, ours, rounds, steps, time.perf_counter)
    show_side(case, "alone", alone, peak)
    if case.device == "cuda":
        print(f"  {case.name:<14}memory        {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of tensors at most")
        _show_bar(case, Times((*taken, *alone.seconds)), peak)
    del ours
    _free()


def _show_head(device: str, deterministic: bool) -> None:
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        machine = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    else:
        machine = f"{platform.machine()}, {torch.get_num_threads()} threads"
    found = [f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    for name in ("transformers", "litgpt"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    step = "forward, backward, clipping, fused AdamW on fp32 weights, torch.compile" if device == "cuda" else "eager"
    print(f"\ntraining: full steps, {step}{', deterministic kernels' if deterministic else ''}")
    print(f"  machine   {machine}")
    print(f"  versions  {', '.join(found)}")
    if device == "cuda":
        print("  MFU       6 × (parameters - token embedding) + 12 L d S FLOPs a token (full attention), beside it the")
        print(
            "            causal half of 12 L d S; of the dense bf16 peak of the data sheet; recomputation never counts"
        )
    else:
        print("  MFU       no figure is claimed: this is not a GPU")


def _utilisation(case: Case, rate: float, peak: float | None) -> str:
    full, causal = (
        mfu(rate, model_flops(case.config, case.sequence_length, attention), peak) for attention in ("full", "causal")
    )
    if full is None:
        return "MFU unknown: no peak is known for this device"
    return f"MFU {full:.1%} (causal {causal:.1%})"


def _show_bar(case: Case, times: Times, peak: float | None) -> None:
    share = mfu(case.tokens / times.median, model_flops(case.config, case.sequence_length), peak)
    if share is not None:
        verdict = "missed" if share < WANTED else "reached" if share < HOPED else f"reached, and the {HOPED:.0%} hoped"
        print(f"  {case.name:<14}bar           MFU of at least {WANTED:.0%}: {verdict}, {share:.1%}")


def _names_there(config: ModelConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    from model.huggingface.names import name_there

    return {name_there(architecture_name(config), name): value for name, value in weights.items()}


def _importable(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
