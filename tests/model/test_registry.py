"""A new architecture needs its declaration and a line in the registry; what it does not declare is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model.architectures.activations import two_inputs
from model.architectures.architecture import Activations, Architecture, HuggingFaceAdapter, NotDeclared
from model.architectures.config_json import expect
from model.architectures.context import Context
from model.architectures.initialisation import Fill, normal
from model.architectures.layers import LanguageModel, ParallelStyle, TokenEmbedding
from model.architectures.registry import ARCHITECTURES, architecture_name, build, model_config, plain_model_config
from model.engine.native import NativeEngine
from model.huggingface.configuration import config_here, config_there
from model.huggingface.folder import read_folder, write_folder
from model.huggingface.weights import SpecialTokens, Weights, WeightsError
from model.layout import Layout
from model.optim.adamw import AdamWConfig
from model.parallel.shapes import whole_shapes
from model.parallel.stage import Stage
from model.planning.activations import kept_by_block
from model.planning.memory import memory

VALUES = {"architecture": "toy", "vocabulary": 24, "positions": 8, "layers": 2, "width": 8, "heads": 2}


@dataclass(frozen=True)
class ToyConfig:
    """A model of linear blocks."""

    vocabulary: int
    positions: int
    layers: int
    width: int
    heads: int

    @property
    def parameters(self) -> int:
        """L · d² + 2Vd."""
        return self.layers * self.width**2 + 2 * self.vocabulary * self.width


class ToyBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return x + self.mix(x)


class ToyHead(nn.Module):
    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.output = nn.Linear(width, vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(x)
        return logits


class Toy(LanguageModel):
    def __init__(self, config: ToyConfig) -> None:
        blocks = (ToyBlock(config.width) for _ in range(config.layers))
        embedding = TokenEmbedding(config.vocabulary, config.width)
        super().__init__(config, embedding, blocks, ToyHead(config.width, config.vocabulary))


def initial(name: str, config: ToyConfig) -> Fill:
    return normal(0.02)


def split(name: str) -> ParallelStyle:
    return "vocabulary" if name in ("embedding.tokens", "head.output") else "replicated"


def read_config(values: Mapping[str, Any], common: dict[str, Any]) -> ToyConfig:
    expect(values, "activation", "none")
    return ToyConfig(**common)


BARE = Architecture("toy", ToyConfig, Toy, initial, split)
ACTIVATIONS = Activations(
    norms=lambda config, size, device: 0.0,
    inputs=two_inputs,
    inner=lambda config, size, device: 3.0 * size,
    attention=lambda config, size, device: 0.0,
)
HUGGINGFACE = HuggingFaceAdapter(
    model_type="toy",
    model_class="ToyForCausalLM",
    write_config=lambda config: {"activation": "none"},
    read_config=read_config,
    modules={"embedding.tokens": "toy.embed", "layers.mix": "toy.layers.{}.mix", "head.output": "toy.output"},
)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The configuration of the toy, which stands in the registry without the two optional declarations."""
    monkeypatch.setitem(ARCHITECTURES, "toy", BARE)
    return model_config(VALUES)


def test_a_registered_architecture_is_built_and_trained(registered: ToyConfig) -> None:
    assert architecture_name(registered) == "toy" and plain_model_config(registered) == VALUES
    model = build(registered, seed=3)
    assert sum(parameter.numel() for parameter in model.parameters()) == registered.parameters
    assert {name: tuple(value.shape) for name, value in model.named_parameters()} == whole_shapes(registered)
    engine = NativeEngine(Stage(registered, Layout()), AdamWConfig((0.9, 0.95), 1e-8, 0.0, 1.0))
    engine.restore(_reader(model), 0)
    tokens = torch.randint(24, (2, 9), generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(20):
        losses.append(engine.accumulate([tokens]))
        engine.gradient_norm()
        engine.update(0.05, 1.0)
    assert losses[-1] < losses[0] / 2


def test_an_architecture_without_activations_is_not_planned(registered: ToyConfig) -> None:
    with pytest.raises(NotDeclared, match="'toy' declares no activation memory"):
        memory(registered, Layout(), "bf16", 8, 1)


def test_an_architecture_without_an_adapter_is_neither_read_nor_written(registered: ToyConfig, tmp_path: Path) -> None:
    weights = Weights(registered, {name: value.detach() for name, value in build(registered, 3).named_parameters()})
    with pytest.raises(WeightsError, match="'toy' has no Hugging Face adapter"):
        write_folder(weights, tmp_path)
    with pytest.raises(WeightsError, match="model_type is 'toy'; it must be one of gpt_neox, opt, llama"):
        config_here({"model_type": "toy"})


def test_what_is_declared_is_used(registered: ToyConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(ARCHITECTURES, "toy", replace(BARE, activations=ACTIVATIONS, huggingface=HUGGINGFACE))
    assert kept_by_block(registered, Layout(), 2) == 2 * registered.width * 2 + 3 * 2
    assert memory(registered, Layout(), "bf16", 8, 1).total > 0
    values = config_there(registered, SpecialTokens(end=0), "float32")
    assert (values["model_type"], values["activation"]) == ("toy", "none")
    assert config_here(values) == (registered, SpecialTokens(end=0))
    weights = Weights(registered, {name: value.detach() for name, value in build(registered, 3).named_parameters()})
    write_folder(weights, tmp_path)
    read = read_folder(tmp_path)
    assert all(torch.equal(read.tensors[name], value) for name, value in weights.tensors.items())


def test_a_configuration_of_no_architecture_is_refused() -> None:
    with pytest.raises(NotDeclared, match="ToyConfig belongs to no registered architecture"):
        architecture_name(ToyConfig(24, 8, 2, 8, 2))
    with pytest.raises(ValueError, match="it must be one of pythia, opt, llama"):
        model_config(VALUES)


def _reader(model: nn.Module) -> Any:
    weights = dict(model.named_parameters())
    return lambda name, kind, box: weights[name].detach() if kind == "weight" else torch.zeros(box.shape)
