"""Scores of checkpoints against direct computation, and what training must have done to them."""

from __future__ import annotations

import math
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch
from torch import nn

from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from model.analysis.scoring import load_checkpoint, loglikelihood, perplexity
from model.architectures.registry import build, model_config
from model.checkpoints.manifest import read_checkpoint
from model.run.config import RunConfig
from model.training.trainer import Trainer
from tests.model.support.small import END_OF_DOCUMENT, SHAPES, VOCABULARY, small_run, write_text
from tests.model.support.trained import train_here


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, RunConfig, Trainer]:
    """A LLaMA run of 40 steps."""
    folder = tmp_path_factory.mktemp("trained")
    lake = Lake.open(str(folder / "lake"))
    schedule = {"kind": "cosine", "learning_rate": 1e-2, "minimum": 1e-3, "warmup": 3, "decay": 40}
    checkpoints = {"kind": "every", "every": 40}
    config = small_run(lake, folder / "text", "llama", steps=40, schedule=schedule, checkpoints=checkpoints)
    return lake, config, train_here(lake, config, folder / "cache")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build(model_config(SHAPES["pythia"]), 2).eval().requires_grad_(False)


def by_hand(model: nn.Module, context: list[int], continuation: list[int]) -> float:
    """Token by token, one sequence at a time, each prefix on its own."""
    total = 0.0
    for number, token in enumerate(continuation):
        logits = model(torch.tensor([context + continuation[:number]]))[0, -1].double()
        total += (logits[token] - torch.logsumexp(logits, 0)).item()
    return total


def test_loglikelihood_is_the_sum_over_the_continuation(model: nn.Module) -> None:
    texts = [("Paris is the capital", " of France"), ("a", "b"), ("one two", " three four"), ("x" * 20, "yz")]
    requests = [(list(context.encode()), list(continuation.encode())) for context, continuation in texts]
    expected = [by_hand(model, *request) for request in requests]
    for batch in (1, 3, 4):
        found = [one.log_probability for one in loglikelihood(model, requests, batch)]
        assert found == pytest.approx(expected, abs=1e-4), f"batch {batch}"


def test_greedy_is_told(model: nn.Module) -> None:
    context = list(b"once upon")
    likely = []
    for _ in range(3):
        likely.append(int(model(torch.tensor([context + likely]))[0, -1].argmax()))
    other = [*likely[:2], (likely[2] + 1) % VOCABULARY]
    assert [one.greedy for one in loglikelihood(model, [(context, likely), (context, other)], 2)] == [True, False]


def test_a_long_context_loses_its_oldest_tokens(model: nn.Module) -> None:
    text = list(topics["assignment"].encode()[:60])
    (found,) = loglikelihood(model, [(text[:50], text[50:])], 1)
    (cut,) = loglikelihood(model, [(text[27:50], text[50:])], 1)
    assert found == cut
    full = model(torch.tensor([text[27:59]]))[0].log_softmax(-1)
    direct = sum(full[22 + number, token].item() for number, token in enumerate(text[50:]))
    assert found.log_probability == pytest.approx(direct, abs=1e-4)


@pytest.mark.parametrize("request_", [([], [1]), ([1], []), ([1], [1] * 33)])
def test_requests_that_cannot_be_scored(request_: tuple[list[int], list[int]], model: nn.Module) -> None:
    with pytest.raises(ValueError, match="request 1"):
        loglikelihood(model, [([1], [2]), request_], 2)


def test_perplexity_counts_every_token_once(model: nn.Module, tmp_path: Path) -> None:
    file = write_text(tmp_path, ["pass", "del"])
    tokens = torch.tensor(file.read(0, file.tokens).astype("int64"))
    assert int((tokens == END_OF_DOCUMENT).sum()) == 2
    total = 0.0
    for first in range(0, len(tokens) - 1, 32):
        window = tokens[first : first + 33]
        log = model(window[None, :-1])[0].double().log_softmax(-1)
        total -= log.gather(1, window[1:, None]).sum().item()
    found = perplexity(model, file, 32, batch=5)
    assert found.tokens == file.tokens - 1
    assert found.negative_log_likelihood == pytest.approx(total, rel=1e-6)
    assert found.value == pytest.approx(math.exp(total / found.tokens), rel=1e-6)
    again = perplexity(model, file, 32, batch=1)
    assert again.negative_log_likelihood == pytest.approx(found.negative_log_likelihood, rel=1e-6)


def test_perplexity_of_a_uniform_model(tmp_path: Path) -> None:
    """A model whose logits are all zero has the vocabulary's size as its perplexity."""
    uniform = build(model_config(SHAPES["pythia"]), 0)
    with torch.no_grad():
        uniform.head.output.weight.zero_()  # type: ignore[union-attr,operator]
    assert perplexity(uniform, write_text(tmp_path, ["pass"]), 32, 4).value == pytest.approx(VOCABULARY, rel=1e-5)


def test_a_loaded_checkpoint_is_the_trained_model(trained: tuple[Lake, RunConfig, Trainer], tmp_path: Path) -> None:
    lake, config, trainer = trained
    loaded = load_checkpoint(lake, config.key, 40, tmp_path)
    tokens = torch.arange(32)[None]
    trained_here = trainer.engine.stage.eval()  # type: ignore[attr-defined]
    assert torch.equal(loaded(tokens), trained_here(tokens))
    assert not any(parameter.requires_grad for parameter in loaded.parameters()) and not loaded.training
    assert list(tmp_path.iterdir()) == [], "nothing stays in the cache"


def test_training_lowers_held_out_perplexity(trained: tuple[Lake, RunConfig, Trainer], tmp_path: Path) -> None:
    lake, config, _ = trained
    held_out = write_text(tmp_path / "held out", sorted(topics)[40:46])
    before, after = (
        perplexity(load_checkpoint(lake, config.key, step, tmp_path), held_out, 32, 16).value for step in (0, 40)
    )
    assert after <= 0.7 * before


def test_a_checkpoint_that_is_not_there_or_not_whole(lake: Lake, tmp_path: Path) -> None:
    config = small_run(lake, tmp_path / "text", steps=1)
    train_here(lake, config, tmp_path / "cache")
    with pytest.raises(NotThere):
        load_checkpoint(lake, config.key, 7, tmp_path)
    checkpoint = read_checkpoint(lake, config.key, 1)
    [name] = [file.object for file in checkpoint.files if file.content == "weights"]
    lake.write(f"{checkpoint.folder}/{name}", lake.read(f"{checkpoint.folder}/{name}")[:-1])
    with pytest.raises(Corrupt, match="rank-0-weights"):
        load_checkpoint(lake, config.key, 1, tmp_path)
