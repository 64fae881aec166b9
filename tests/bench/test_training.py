"""The training benchmarks: their sides do the same, unlike ones are refused, and the code runs without a GPU."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.architectures.registry import architecture_name, model_config
from model.cost.devices import DEVICES
from tests.bench import training_peers, training_sides
from tests.bench.measure import DifferentOutputs
from tests.bench.training import SHAPES, fitting_micro_batch, main
from tests.bench.training_agreement import require_same_function, require_same_losses
from tests.bench.training_cpu import case_of, run_case
from tests.bench.training_peers import PEERS, litgpt_model, plain_model, transformers_model
from tests.bench.training_sides import Case, Ours, Peer, Precision, visible_weights

ROOT = Path(__file__).parents[2]
TINY = ["--device", "cpu", "--shape", "tiny", "--micro-batch", "1", "--rounds", "1", "--steps", "1"]
# What the GPU's machine does not have, and what nobody should need for a benchmark.
ABSENT = (
    *("prefect", "pydantic", "pyarrow", "s3fs", "fsspec", "ray", "deepspeed", "typer", "click", "rich"),
    *("fasttext", "kenlm", "sentencepiece", "datasketch", "numba", "tensorboard", "jinja2", "lightning"),
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    torch.use_deterministic_algorithms(False)


def small(name: str) -> Case:
    return replace(case_of(name, 2), sequence_length=32)


def large(shape: str) -> Case:
    config = model_config({"architecture": "pythia", "vocabulary": 50304, "positions": 2048, **SHAPES[shape]})
    return Case(shape, config, 2048, 8, "bf16", "cuda")


def peer(case: Case, name: str = "transformers") -> Peer:
    model = PEERS[name](case)
    assert model is not None
    return Peer(model, case)


def test_the_tiny_shape_prints_a_table_and_claims_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(TINY) == 0
    printed = capsys.readouterr().out
    assert "MFU       no figure is claimed" in printed and not re.search(r"MFU (of|\d)", printed)
    for name in ("transformers", "plain"):
        assert f"outputs as of {name}: logits within" in printed
        for ours in ("millrace", "millrace, deterministic"):
            assert len(re.findall(rf"{ours} +\d\.\d\d times as fast as {name}", printed)) == 2
    assert f"torch {torch.__version__}" in printed


def test_nothing_that_a_bare_machine_lacks_is_needed() -> None:
    """In a process of its own, in which importing one of those packages fails."""
    program = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({ABSENT!r}))
sys.argv[1:] = {[*TINY, "--accumulation", "1", "--peers", "transformers", "plain"]!r}
runpy.run_module("tests.bench.training", run_name="__main__")
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "times as fast as transformers" in run.stdout and "times as fast as plain" in run.stdout


@pytest.mark.parametrize(
    ("preset", "name"), [("tiny-pythia", "transformers"), ("tiny-llama", "transformers"), ("tiny-pythia", "plain")]
)
def test_the_models_compute_the_same(preset: str, name: str) -> None:
    case = small(preset)
    model = PEERS[name](case)
    assert model is not None
    of_logits, of_gradients = require_same_function(case, model)
    assert of_logits < 1e-5 and of_gradients < 1e-5


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("preset", "name"), [("tiny-pythia", "transformers"), ("tiny-llama", "transformers"), ("tiny-pythia", "plain")]
)
def test_the_sides_take_the_same_steps(preset: str, name: str, precision: Precision) -> None:
    case = replace(small(preset), precision=precision)
    first, second = require_same_losses(case, Ours(case), peer(case, name).side)
    assert second < first


def test_litgpts_model_too_where_it_is_installed() -> None:
    pytest.importorskip("litgpt")
    case = small("tiny-pythia")
    model = litgpt_model(case)
    assert model is not None
    require_same_function(case, model)
    require_same_losses(case, Ours(case), Peer(model, case).side)


@pytest.mark.parametrize(
    "change",
    [{"gelu": "erf"}, {"rotary_fraction": 0.5}, {"rotary_base": 20_000.0}, {"heads": 2}, {"norm_epsilon": 1e-2}],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("make", [transformers_model, plain_model])
def test_a_model_that_computes_something_else_is_refused(make: Any, change: dict[str, Any]) -> None:
    """Each has a loss that is the same to 1e-2 at the published initialisation."""
    case = small("tiny-pythia")
    other = make(replace(case, config=replace(case.config, **change)))
    with pytest.raises(DifferentOutputs, match=f"of {other.name} and ours are"):
        require_same_function(case, other)


@pytest.mark.parametrize("preset", ["tiny-pythia", "tiny-opt", "tiny-llama"])
def test_weights_are_always_the_same_and_show_in_the_logits(preset: str) -> None:
    case = small(preset)
    once, again = visible_weights(case), visible_weights(case)
    assert all(torch.equal(value, again[name]) for name, value in once.items())
    for name, value in once.items():
        assert value.std() > 0.01, name
        assert abs(value.mean() - float(name.endswith("norm.weight"))) < 0.1, name


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    case = small("tiny-pythia")
    ours = Ours(case)
    monkeypatch.setattr(training_peers, "visible_weights", lambda case: _scaled(visible_weights(case)))
    with pytest.raises(DifferentOutputs, match="loss after 0 updates"):
        require_same_losses(case, ours, peer(case).side)


def test_another_update_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    case = small("tiny-pythia")
    ours = Ours(case)
    monkeypatch.setattr(training_sides, "LEARNING_RATE", 3e-4)
    theirs = peer(case).side
    monkeypatch.setattr(training_sides, "LEARNING_RATE", 2e-4)
    with pytest.raises(DifferentOutputs, match="loss after 1 updates"):
        require_same_losses(case, ours, theirs)


def test_a_peer_is_cast_in_its_parameters_alone() -> None:
    case = replace(small("tiny-pythia"), precision="bf16")
    model = transformers_model(case)
    assert model is not None
    Peer(model, case)
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.bfloat16}
    assert {buffer.dtype for buffer in model.module.buffers()} == {torch.float32}


@pytest.mark.parametrize("name", ["transformers", "plain"])
def test_a_peers_step_is_one_graph_for_the_compiler(name: str) -> None:
    case = small("tiny-pythia")
    compiled = torch.compile(peer(case, name).loss, backend="eager", fullgraph=True)
    compiled(case.batch(1)[0]).backward()


def test_both_kernels_of_ours_are_compiled_once() -> None:
    """Alternating between them must not compile anything again."""
    case = small("tiny-pythia")
    ours, compiled = Ours(case), []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(torch.are_deterministic_algorithms_enabled())
        return graph

    ours._engine._loss = torch.compile(ours._engine._loss_of, backend=backend)
    for side in (ours.fast, ours.deterministic, ours.fast, ours.deterministic):
        side.step(case.batch(2))
    assert compiled == [False, True]


def test_a_missing_peer_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(training_peers, "_importable", lambda name: None)
    assert main([*TINY, "--accumulation", "1", "--peers", "transformers", "litgpt"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("absent: it is not installed here") == 2
    assert len(re.findall(r"millrace.* tokens/s", printed)) == 2, "without a peer, ours alone"


def test_a_micro_batch_is_chosen_with_which_both_sides_fit() -> None:
    h100, h200 = DEVICES["h100"].memory, DEVICES["h200"].memory
    assert fitting_micro_batch(large("1.4b"), 4, True, h200) == 8
    assert fitting_micro_batch(large("1.4b"), 4, False, h100) == 8
    assert fitting_micro_batch(large("1.4b"), 4, True, 0.85 * h100) == 4
    with pytest.raises(ValueError, match="does not fit 20 GB"):
        fitting_micro_batch(large("1.4b"), 1, True, 20e9)


def test_the_benchmark_of_small_presets_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_case(small("tiny-llama"), rounds=1) > 0
    assert "times as fast as transformers" in capsys.readouterr().out
    assert architecture_name(case_of("pythia-14m", 1).config) == "pythia"
    assert case_of("pythia-14m", 1).tokens(1) == 2048


def _scaled(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: 1.01 * value for name, value in weights.items()}
