"""The loss against PyTorch's own, in value, gradient and memory; of cut vocabularies: `test_parallel.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.architectures import cross_entropy as module
from model.architectures.cross_entropy import cross_entropy
from tests.model.support.allocations import Allocations

BATCH, SEQUENCE, VOCABULARY = 3, 50, 1000


@pytest.fixture
def in_stretches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Seven rows at a time, which do not come out even."""
    monkeypatch.setitem(module.LOGITS_AT_A_TIME, "cpu", 7 * VOCABULARY)
    yield


def logits(dtype: torch.dtype = torch.float32, scale: float = 4.0) -> Tensor:
    values = torch.randn(BATCH, SEQUENCE, VOCABULARY, generator=torch.Generator().manual_seed(1))
    return (values * scale).to(dtype).requires_grad_()


def labels() -> Tensor:
    return torch.randint(VOCABULARY, (BATCH, SEQUENCE), generator=torch.Generator().manual_seed(2))


def reference(values: Tensor) -> Tensor:
    return functional.cross_entropy(values.flatten(0, 1).float(), labels().flatten())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.1, 4.0, 100.0])
def test_value_and_gradient(dtype: torch.dtype, scale: float, in_stretches: None) -> None:
    ours, theirs = logits(dtype, scale), logits(dtype, scale)
    loss, expected = cross_entropy(ours, labels()), reference(theirs)
    # As an fp16 run scales its loss; the scaled gradient is rounded once.
    (loss * 1024).backward()
    (expected * 1024).backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert ours.grad is not None and theirs.grad is not None and ours.grad.dtype == dtype
    rounding = torch.finfo(dtype).eps
    assert (ours.grad - theirs.grad).abs().max() <= 2 * rounding * theirs.grad.abs().max()


def test_stretches_change_no_bit(in_stretches: None, monkeypatch: pytest.MonkeyPatch) -> None:
    one = logits()
    cross_entropy(one, labels()).backward()
    monkeypatch.setitem(module.LOGITS_AT_A_TIME, "cpu", 1)
    other = logits()
    assert cross_entropy(other, labels()).item() == cross_entropy(one, labels()).item()
    cross_entropy(other, labels()).backward()
    assert one.grad is not None and other.grad is not None and torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("label", [-1, VOCABULARY])
def test_a_label_outside_the_vocabulary_is_an_error(label: int) -> None:
    wrong = labels()
    wrong[1, 2] = label
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        cross_entropy(logits(), wrong)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_is_that_of_the_gradient(dtype: torch.dtype, in_stretches: None) -> None:
    """Beside the logits; PyTorch's own takes twice that at least."""
    values = logits(dtype)
    gradient = values.numel() * values.element_size()
    with Allocations([values]) as ours:
        cross_entropy(values, labels()).backward()
    values.grad = None
    with Allocations([values]) as theirs:
        reference(values).backward()
    assert gradient <= ours.peak <= 1.25 * gradient
    assert theirs.peak >= 2 * gradient


def test_compiled_it_is_torchs(in_stretches: None) -> None:
    """Traced by the compiler, which fuses it by itself."""
    values = logits()
    compiled = torch.compile(cross_entropy, backend="aot_eager", fullgraph=True)
    assert compiled(values, labels()).item() == pytest.approx(reference(values).item(), rel=1e-6)
