"""Whether two sides of the training benchmark do the same: what they compute, and what they train to."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from model.optim.precision import Precision
from tests.bench.measure import DifferentOutputs
from tests.bench.training_sides import Case, Model, Ours, Side, empty_stage, visible_weights

# Of logits and gradients in fp32, relative to the largest of each tensor. In 24 layers rounding is 3e-6 on a processor;
# an erf GELU in place of the tanh one, the least that can be told apart, is 2e-4 in the logits and 9e-4 in gradients.
FUNCTION_TOLERANCE = 5e-5
# Of losses before and after an update, relative: rounding, and nothing else.
LOSS_TOLERANCE: dict[Precision, float] = {"fp32": 1e-5, "bf16": 1e-2, "fp16": 1e-2}
SEQUENCES, POSITIONS = 2, 256  # at most, of the comparison in fp32


def require_same_function(case: Case, model: Model) -> tuple[float, float]:
    """Logits and all gradients of our model and `model` in fp32, on a short batch: the largest differences of both,
    relative to the largest of each tensor. Raises DifferentOutputs when one is above FUNCTION_TOLERANCE.
    """
    # TF32 keeps ten bits: its rounding would hide what is looked for.
    torch.set_float32_matmul_precision("highest")
    torch.use_deterministic_algorithms(False)
    tokens = case.batch(1)[0][:SEQUENCES, : POSITIONS + 1]
    ours = empty_stage(case)
    weights = visible_weights(case)
    with torch.no_grad():
        for name, parameter in ours.named():
            parameter.copy_(weights.pop(name))
    logits = ours(tokens[:, :-1])
    ours.loss(logits, tokens).backward()
    if logits.std() < 1:
        raise DifferentOutputs(f"{case.name}: logits have a deviation of {logits.std():.2f}, too little to compare")
    found = model.logits(tokens[:, :-1])
    nn.functional.cross_entropy(found.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    of_logits = _required(case, model, "logits", logits, found)
    gradients = {name: parameter.grad for name, parameter in ours.named() if parameter.grad is not None}
    of_gradients = max(
        _required(case, model, f"the gradient of {name}", left, right) for name, left, right in _pairs(model, gradients)
    )
    return of_logits, of_gradients


def require_same_losses(case: Case, ours: Ours, peer: Side) -> tuple[float, float]:
    """The losses of two steps on one batch of two micro-batches, which all sides must share, ours with either kernels.

    Our side begins anew. Everything is compiled after it. Raises DifferentOutputs.
    """
    batch = case.batch(2)
    expected = None
    for side in (ours.fast, ours.deterministic, peer):
        if side is not peer:
            ours.begin()
        found = side.step(batch), side.step(batch)
        expected = expected or found
        for updates, (left, right) in enumerate(zip(expected, found)):
            if not abs(left - right) <= LOSS_TOLERANCE[case.precision] * abs(left):
                raise DifferentOutputs(
                    f"{case.name}: loss after {updates} updates is {left!r} in {ours.fast.name} and {right!r} in "
                    f"{side.name}"
                )
    assert expected is not None
    return expected


def _pairs(model: Model, gradients: dict[str, Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Our gradients and theirs, by their names."""
    theirs = dict(model.module.named_parameters())
    for name, gradient in model.convert(gradients).items():
        found = theirs.pop(name).grad
        assert found is not None, f"{name} took no part in the loss of {model.name}"
        yield name, gradient, found
    assert not theirs, f"{model.name} has more parameters than we have: {', '.join(theirs)}"


def _required(case: Case, model: Model, what: str, ours: Tensor, theirs: Tensor) -> float:
    difference = ((ours - theirs).abs().max() / ours.abs().max()).item()
    if not difference <= FUNCTION_TOLERANCE:
        raise DifferentOutputs(
            f"{case.name}: {what} of {model.name} and ours are {difference:.1e} of the largest apart; rounding is "
            f"below {FUNCTION_TOLERANCE:.0e}"
        )
    return difference
