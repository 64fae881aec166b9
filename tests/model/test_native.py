"""The native engine: steps against AdamW written out by hand, every precision, loss scales, discards, round trips."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from model.architectures.cross_entropy import cross_entropy
from model.architectures.registry import build, model_config
from model.engine import DTYPES
from model.engine.native import NativeEngine
from model.layout import Layout
from model.optim.adamw import AdamWConfig
from model.optim.precision import Precision
from model.parallel.stage import Stage
from model.state.boxes import Box
from model.state.slices import KINDS, Kind, ReadState
from tests.model.support.course import batches
from tests.model.support.small import SHAPES

ADAMW = AdamWConfig((0.9, 0.95), 1e-8, 0.1, 1.0)
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
RATE = 1e-2
State = dict[tuple[str, Kind], Tensor]


def engine(
    precision: Precision = "fp32",
    architecture: str = "pythia",
    seed: int = 1,
    config: AdamWConfig = ADAMW,
    **shape: Any,
) -> NativeEngine:
    """A small one."""
    return NativeEngine(Stage(model_config(SHAPES[architecture] | shape), Layout(), seed=seed), config, precision)


def step(native: NativeEngine, number: int, rate: float = RATE, clip: float = 1.0) -> tuple[float, float]:
    """One step in four micro-batches: loss and norm."""
    loss, norm = native.accumulate(batches()[number].split(2)), native.gradient_norm()
    native.update(rate, clip)
    return loss, norm


def state(native: NativeEngine) -> State:
    """A copy of it."""
    return {(one.name, one.kind): one.values.clone() for one in native.state()}


def gradients(native: NativeEngine) -> dict[str, Tensor]:
    """A copy of the accumulated gradient."""
    return {one.name: one.values.clone() for one in native.gradients()}


def reader(held: State) -> ReadState:
    """What `restore` reads."""

    def read(name: str, kind: Kind, box: Box) -> Tensor:
        assert box.shape == tuple(held[name, kind].shape)
        return held[name, kind]

    return read


def same(one: dict[Any, Tensor], other: dict[Any, Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(values, other[key]) for key, values in one.items())


@pytest.mark.parametrize("architecture", SHAPES)
@pytest.mark.parametrize("decay", ["matrices", "all"])
def test_steps_are_those_of_the_papers(architecture: str, decay: Literal["matrices", "all"]) -> None:
    """Three steps in fp64, of AdamW (Loshchilov and Hutter 2019, algorithm 2) and clipping (Pascanu et al. 2013,
    algorithm 1), with the gradient of the mean loss over the whole batch.
    """
    (beta1, beta2), epsilon, clip = ADAMW.betas, ADAMW.epsilon, 0.01
    native = engine(architecture=architecture, config=AdamWConfig(ADAMW.betas, epsilon, 0.1, 1.0, decay))
    model = build(model_config(SHAPES[architecture]), seed=1).double()
    weights = dict(model.named_parameters())
    moments = {name: (torch.zeros_like(one), torch.zeros_like(one)) for name, one in weights.items()}
    trusted = {name: torch.ones_like(one, dtype=torch.bool) for name, one in weights.items()}
    for number in range(3):
        tokens = batches()[number]
        loss = nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        found = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
        norm = math.sqrt(sum(one.square().sum().item() for one in found.values()))
        assert norm > clip
        loss_found, norm_found = step(native, number, clip=clip)
        assert loss_found == pytest.approx(loss.item(), rel=1e-5) and norm_found == pytest.approx(norm, rel=1e-4)
        for name, weight in weights.items():
            gradient, (first, second) = found[name] * clip / norm, moments[name]
            # Of a gradient that is nothing but rounding (a key's bias has no other) AdamW makes as much as of any.
            trusted[name] &= gradient.abs() > max(3e-3 * gradient.abs().max().item(), 1e-6 * clip)
            first.mul_(beta1).add_((1 - beta1) * gradient)
            second.mul_(beta2).add_((1 - beta2) * gradient**2)
            with torch.no_grad():
                if weight.ndim >= 2 or decay == "all":
                    weight.mul_(1 - RATE * 0.1)
                first_hat, second_hat = first / (1 - beta1 ** (number + 1)), second / (1 - beta2 ** (number + 1))
                weight.sub_(RATE * first_hat / (second_hat.sqrt() + epsilon))
    held = state(native)
    assert sum(int(one.sum()) for one in trusted.values()) > sum(one.numel() for one in weights.values()) / 4
    for name, (first, second) in moments.items():
        for kind, expected, size in (
            ("first_moment", first, first.abs().max()),
            ("second_moment", second, second.max()),
            ("weight", weights[name].detach(), RATE),
        ):
            difference = (held[name, kind] - expected)[trusted[name]].abs()  # type: ignore[index]
            assert (difference <= 1e-3 * size).all(), (name, kind)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_products_are_computed_in_a_cast_copy(precision: Precision) -> None:
    """The gradient of each micro-batch is that of the cast model, bit for bit, and they are added up in fp32."""
    native = engine(precision)
    loss = native.accumulate(batches()[0].split(4))
    model = build(model_config(SHAPES["pythia"]), seed=1).to(DTYPES[precision])
    losses, total = [], {name: torch.zeros(one.shape) for name, one in model.named_parameters()}
    for tokens in batches()[0].split(4):
        value = cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])
        for (name, _), one in zip(
            model.named_parameters(), torch.autograd.grad(value / 2, list(model.parameters())), strict=True
        ):
            total[name] += one.float()
        losses.append(value.item())
    assert loss == pytest.approx(sum(losses) / 2, rel=1e-6)
    assert same(gradients(native), total)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_small_updates_are_not_lost(precision: Precision) -> None:
    """Weights are kept in fp32: updates too small for the cast copy add up in them, and are then seen in it."""
    native = engine(precision)
    before = state(native)
    copies = {name: one.detach().clone() for name, one in native.stage.named()}
    step(native, 0, rate=1e-7)
    weights = {name: values for (name, kind), values in state(native).items() if kind == "weight"}
    assert all(not torch.equal(one, before[name, "weight"]) for name, one in weights.items() if "norm" not in name)
    ones = [name for name in weights if name.endswith("norm.weight")]
    named = dict(native.stage.named())
    assert ones and all(torch.equal(named[name], copies[name]) for name in ones)
    assert all(torch.equal(named[name], weights[name].to(DTYPES[precision])) for name in weights)


def test_the_scale_is_exact_in_fp32() -> None:
    """A power of two moves no bit of losses, norms and gradients."""
    native = engine()
    loss, norm, plain = native.accumulate(batches()[0].split(2)), native.gradient_norm(), gradients(native)
    native.loss_scale = 2.0**12
    assert native.accumulate(batches()[0].split(2)) == loss
    assert native.gradient_norm() == norm
    assert same(gradients(native), plain)


def test_the_scale_in_fp16() -> None:
    """It saves gradients that fp16 has no number for, is not seen in what it can hold, and overflows when too large."""
    native = engine("fp16")
    losses, norms, found = set(), {}, {}
    for scale in (2.0**-12, 2.0**10, 2.0**12, 2.0**30):
        native.loss_scale = scale
        losses.add(native.accumulate(batches()[0].split(2)))
        norms[scale], found[scale] = native.gradient_norm(), gradients(native)
    assert len(losses) == 1

    def distance(scale: float) -> float:
        differences = [one - found[2.0**12][name] for name, one in found[scale].items()]
        return math.sqrt(sum(one.square().sum().item() for one in differences)) / norms[2.0**12]

    assert distance(2.0**10) <= 1e-4
    assert distance(2.0**-12) >= 1e-2
    assert not math.isfinite(norms[2.0**30])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_discarded_gradient_leaves_no_trace(precision: Precision) -> None:
    """Nor does an evaluation, before an update or after."""
    one, other = engine(precision), engine(precision)
    for native in (one, other):
        step(native, 0)
    before = state(one)
    one.loss_scale = 2.0**30 if precision == "fp16" else 1.0
    one.accumulate(batches()[5].split(2))
    assert math.isfinite(one.gradient_norm()) == (precision != "fp16")
    one.discard()
    assert same(state(one), before)
    one.loss_scale = 1.0
    one.accumulate(batches()[5].split(2))  # the next step's takes its place
    one.evaluate(batches()[6].split(2))
    assert one.accumulate(batches()[1].split(2)) == other.accumulate(batches()[1].split(2))
    one.evaluate(batches()[6].split(2))
    assert one.gradient_norm() == other.gradient_norm()
    assert same(gradients(one), gradients(other))
    for native in (one, other):
        native.update(RATE, 1.0)
    assert same(state(one), state(other))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_evaluation_is_the_mean_loss(precision: Precision) -> None:
    """Of weights as they are computed with."""
    native = engine(precision)
    step(native, 0)
    model = build(model_config(SHAPES["pythia"]), seed=1)
    model.load_state_dict({name: values for (name, kind), values in state(native).items() if kind == "weight"})
    model.to(DTYPES[precision])
    tokens = batches()[3]
    with torch.no_grad():
        expected = cross_entropy(model(tokens[:, :-1]), tokens[:, 1:]).item()
    marks: list[int] = []
    native.on_micro_batch = lambda: marks.append(1)
    assert native.evaluate(tokens.split(2)) == pytest.approx(expected, rel=1e-5)
    # A long validation is no rank that hangs.
    assert len(marks) == len(tokens) // 2
    assert native.evaluate(tokens.split(1)) == pytest.approx(expected, rel=1e-5)


def test_evaluation_has_no_dropout() -> None:
    """And draws nothing from the random stream; training does both."""
    native = engine(architecture="opt", dropout=0.5, attention_dropout=0.5)
    without = engine(architecture="opt")
    torch.manual_seed(1)
    stream = torch.get_rng_state()
    tokens = batches()[0].split(2)
    assert native.evaluate(tokens) == without.evaluate(tokens)
    assert torch.equal(torch.get_rng_state(), stream)
    assert native.accumulate(tokens) != without.accumulate(tokens)
    assert not torch.equal(torch.get_rng_state(), stream)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_state_survives_a_round_trip(precision: Precision) -> None:
    """Into an engine that held something else; what was read may change afterwards."""
    one, other = engine(precision), engine(precision, seed=2)
    fresh = state(one)
    assert all(not values.any() for (_, kind), values in fresh.items() if kind != "weight")
    assert {kind for _, kind in fresh} == set(KINDS)
    for number in range(2):
        step(one, number)
        step(other, number + 3)
    held = state(one)
    assert all(values.any() for (name, kind), values in held.items() if kind != "weight")
    read = {key: values.clone() for key, values in held.items()}
    other.restore(reader(read), 2)
    for values in read.values():
        values.zero_()
    assert same(state(other), held)
    assert step(other, 2) == step(one, 2)
    assert same(state(other), state(one))


def test_a_stale_copy_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: weights restored, but not where products are computed."""
    one, other = engine("bf16"), engine("bf16", seed=2)
    with monkeypatch.context() as patched:
        patched.setattr(NativeEngine, "_copy_to_computed", lambda native: None)
        other.restore(reader(state(one)), 0)
    assert same(state(other), state(one))
    assert step(other, 0) != step(one, 0)


@pytest.mark.parametrize("updates", [0, 1])
def test_a_wrong_count_is_seen(updates: int) -> None:
    """Negative control: AdamW's count corrects the moments' bias."""
    one = engine()
    for number in range(2):
        step(one, number)
    other = engine()
    other.restore(reader(state(one)), updates)
    assert step(other, 2) == step(one, 2)
    assert not same(state(other), state(one))


@pytest.mark.parametrize("recompute", ["none", "whole", "selective"])
@pytest.mark.parametrize("architecture", SHAPES)
def test_a_step_is_one_graph_for_the_compiler(
    architecture: str, recompute: Literal["none", "whole", "selective"]
) -> None:
    """On a GPU the loss is compiled; a break inside it would leave the blocks to run piece by piece."""
    stage = Stage(model_config(SHAPES[architecture]), Layout(recompute=recompute), seed=1)
    native = NativeEngine(stage, ADAMW)
    compiled = torch.compile(native._loss_of, backend="eager", fullgraph=True)
    tokens = batches()[0]
    compiled(tokens).backward()
    # Not to the bit: of the loss alone, the compiler is given PyTorch's own form.
    assert compiled(tokens).item() == pytest.approx(native._loss_of(tokens).item(), rel=1e-6)
    torch._dynamo.reset()
