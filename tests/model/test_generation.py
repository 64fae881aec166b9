"""Generation against transformers' own, and its cache against computing everything anew."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessorList
from transformers.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from model.analysis.generation import Sampling, allowed, generate
from model.architectures.context import Context, KeyValueCache
from tests.model.support.reference import copy_into, largest_difference, random_model, reference_model
from tests.model.support.small import SHAPES

PROMPTS = torch.randint(2, 257, (3, 7), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("architecture", SHAPES)
def test_greedy_ids_equal_those_of_transformers(architecture: str) -> None:
    ours = random_model(architecture)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            # After the last norm of OPT's post-LN form, a bias alone would decide every word.
            if name.endswith("feed_forward_norm.bias"):
                parameter.zero_()
    theirs = reference_model(ours.config).eval()
    copy_into(ours, theirs)
    generated = generate(ours, PROMPTS, 25)
    reference = theirs.generate(
        PROMPTS, attention_mask=torch.ones_like(PROMPTS), max_new_tokens=25, do_sample=False, pad_token_id=0
    )
    assert torch.equal(generated, reference)
    assert generated.shape == (3, 32)
    assert len(set(generated[:, 7:].flatten().tolist())) > 5, "a model that says one word would prove nothing"


@pytest.mark.parametrize("architecture", SHAPES)
def test_the_cache_gives_what_computing_anew_gives(architecture: str) -> None:
    model = random_model(architecture).eval()
    tokens = torch.randint(2, 257, (2, 24), generator=torch.Generator().manual_seed(6))
    whole = model(tokens)
    cache, read = KeyValueCache(24), 0
    # The first tokens, one, several behind them, and one again.
    for length in (9, 1, 13, 1):
        positions = torch.arange(read, read + length)
        part = model(tokens[:, read : read + length], Context(positions=positions, cache=cache))
        assert largest_difference(part, whole[:, read : read + length]) <= 1e-5
        read += length


@pytest.mark.parametrize("architecture", SHAPES)
def test_greedy_ids_equal_full_recomputation(architecture: str) -> None:
    model = random_model(architecture).eval()
    tokens = PROMPTS
    for _ in range(12):
        tokens = torch.cat((tokens, model(tokens)[:, -1:].argmax(-1)), dim=1)
    assert torch.equal(generate(model, PROMPTS, 12), tokens)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7),
        Sampling(top_k=5),
        Sampling(top_p=0.8),
        Sampling(temperature=2.0, top_k=40, top_p=0.5),
        Sampling(top_k=1000, top_p=1e-6),
    ],
)
def test_what_may_be_drawn_is_as_in_transformers(sampling: Sampling) -> None:
    logits = torch.randn(50, 257, generator=torch.Generator().manual_seed(0)) * 3
    steps: list[Any] = [TemperatureLogitsWarper(sampling.temperature)]
    if sampling.top_k is not None:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p is not None:
        steps.append(TopPLogitsWarper(sampling.top_p))
    reference = LogitsProcessorList(steps)(torch.zeros(50, 1, dtype=torch.int64), logits)
    ours = allowed(logits, sampling)
    assert torch.equal(ours.isinf(), reference.isinf())
    assert torch.allclose(ours.softmax(-1), reference.softmax(-1))


def test_draws_follow_the_seed_and_the_probabilities() -> None:
    model = random_model("llama")
    one, again, other = (generate(model, PROMPTS, 10, sampling=Sampling(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    torch.manual_seed(7)
    assert torch.equal(generate(model, PROMPTS, 10, sampling=Sampling(seed=1)), one)
    assert torch.equal(generate(model, PROMPTS, 10, sampling=Sampling(top_k=1)), generate(model, PROMPTS, 10))
    prompt = PROMPTS[:1].expand(1000, -1)
    drawn = generate(model, prompt, 1, sampling=Sampling(seed=3))[:, -1]
    expected = model(PROMPTS[:1])[0, -1].softmax(-1)
    found = torch.bincount(drawn, minlength=len(expected)) / 1000
    assert (found - expected).abs().max() < 0.05


def ended(ids: Tensor, end: int) -> list[list[int]]:
    """Each row up to its end."""
    return [row[: row.index(end) + 1] if end in row else row for row in ids.tolist()]


def test_a_sequence_is_over_with_the_end() -> None:
    model = random_model("pythia")
    free = generate(model, PROMPTS, 20)[:, 7:]
    end = int(free[0, 4])
    stopped = generate(model, PROMPTS, 20, end=end)[:, 7:]
    assert ended(stopped, end) == ended(free, end)
    first = stopped[0].tolist().index(end)
    assert set(stopped[0, first:].tolist()) == {end}
    alone = generate(model, PROMPTS[:1], 20, end=end)
    assert alone.shape[1] == 7 + first + 1


def test_words_of_the_padding_are_never_chosen() -> None:
    model = random_model("opt", vocabulary=384)
    with torch.no_grad():
        # Beyond what training leaves there: words of the padding that would win every time.
        model.embedding.tokens.weight[257:] *= 20  # type: ignore[union-attr,index,operator]
    assert (generate(model, PROMPTS, 20)[:, 7:] >= 257).any()
    for sampling in (None, Sampling(temperature=5.0)):
        assert (generate(model, PROMPTS, 20, sampling=sampling, vocabulary=257) < 257).all()


def test_what_cannot_be_done_is_refused() -> None:
    model = random_model("opt")
    with pytest.raises(ValueError, match="the model has 32 positions; shorten the text"):
        generate(model, PROMPTS, 26)
    with pytest.raises(ValueError, match="the prompt has no tokens"):
        generate(model, PROMPTS[:, :0], 3)
    with pytest.raises(ValueError, match="do not fit a cache of 4"):
        model(PROMPTS, Context(positions=torch.arange(7), cache=KeyValueCache(4)))
    for token in (-1, model.config.vocabulary):
        with pytest.raises(ValueError, match="the model has ids from 0 to 259"):
            generate(model, torch.tensor([[2, token]]), 3)
    for wrong in ({"temperature": 0.0}, {"temperature": 1e-300}, {"temperature": math.inf}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Sampling(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"seed is 18446744073709551616; it must be in \[0, 2⁶⁴\)"):
        Sampling(seed=2**64)
    assert generate(model, PROMPTS, 3, sampling=Sampling(seed=2**64 - 1)).shape == (3, 10)
    for wrong in ({"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Sampling(**wrong)  # type: ignore[arg-type]
