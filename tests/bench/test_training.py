"""The training benchmarks: their sides do the same, unlike ones are refused, and the code runs without a GPU."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from model.architecture import architecture_name
from tests.bench import training
from tests.bench.measure import DifferentOutputs
from tests.bench.training import Case, Ours, Peer, litgpt_side, main, require_same_losses, transformers_side
from tests.bench.training_cpu import case_of, run_case


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def small(name: str) -> Case:
    return replace(case_of(name, 2), sequence_length=32)


def test_the_tiny_shape_prints_a_table_and_claims_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", "--shape", "tiny", "--micro-batch", "2", "--rounds", "2", "--steps", "1"]) == 0
    printed = capsys.readouterr().out
    assert "MFU       no figure is claimed" in printed and not re.search(r"MFU \d", printed)
    assert "as of transformers: loss" in printed and "times as fast as transformers" in printed
    assert f"torch {torch.__version__}" in printed


@pytest.mark.parametrize("name", ["tiny-pythia", "tiny-llama"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_sides_take_the_same_steps(name: str, precision: training.Precision) -> None:
    case = replace(small(name), precision=precision)
    ours = Ours(case)
    peer = transformers_side(case, ours.weights)
    assert peer is not None
    first, second = require_same_losses(case, ours, peer)
    assert second < first


def test_litgpts_model_too_where_it_is_installed() -> None:
    pytest.importorskip("litgpt")
    case = small("tiny-pythia")
    ours = Ours(case)
    peer = litgpt_side(case, ours.weights)
    assert peer is not None
    require_same_losses(case, ours, peer)


def test_other_weights_are_refused() -> None:
    case = small("tiny-pythia")
    ours = Ours(case)
    peer = transformers_side(case, {name: 1.01 * value for name, value in ours.weights.items()})
    assert peer is not None
    with pytest.raises(DifferentOutputs, match="loss after 0 updates"):
        require_same_losses(case, ours, peer)


def test_another_update_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    case = small("tiny-pythia")
    ours = Ours(case)
    monkeypatch.setattr(training, "LEARNING_RATE", 3e-4)
    peer = transformers_side(case, ours.weights)
    monkeypatch.setattr(training, "LEARNING_RATE", 2e-4)
    assert isinstance(peer, Peer)
    with pytest.raises(DifferentOutputs, match="loss after 1 updates"):
        require_same_losses(case, ours, peer)


def test_a_missing_peer_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(training, "_importable", lambda name: None)
    assert main(["--device", "cpu", "--shape", "tiny", "--micro-batch", "1", "--rounds", "1", "--steps", "1"]) == 0
    assert capsys.readouterr().out.count("absent: it is not installed here") == 2


def test_the_benchmark_of_small_presets_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_case(small("tiny-llama"), rounds=1) > 0
    assert "times as fast as transformers" in capsys.readouterr().out
    assert architecture_name(case_of("pythia-14m", 1).config) == "pythia"
    assert case_of("pythia-14m", 1).tokens == 2048
