"""Models by the name of their architecture: `pythia` is the module `model.pythia`, and so on.

A module of an architecture holds a frozen configuration with a `parameters` count, the model, and `initial`, which
says how each parameter starts. A new architecture is one such file, its line here and its presets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from model import llama, pythia
from model.configuration import from_plain, to_plain
from model.initialisation import Fill, initialise

ModelConfig = pythia.PythiaConfig | llama.LlamaConfig


@dataclass(frozen=True)
class Architecture:
    """What a module of an architecture offers."""

    config: type[Any]
    model: Callable[[Any], nn.Module]
    initial: Callable[[str, Any], Fill]


ARCHITECTURES = {
    "pythia": Architecture(pythia.PythiaConfig, pythia.Pythia, pythia.initial),
    "llama": Architecture(llama.LlamaConfig, llama.Llama, llama.initial),
}


def model_config(values: Mapping[str, Any]) -> ModelConfig:
    """The configuration in a mapping such as {"architecture": "pythia", "layers": 6, …}. Raises ValueError."""
    shape = dict(values)
    name = shape.pop("architecture", None)
    if name not in ARCHITECTURES:
        raise ValueError(f"model.architecture is {name!r}; it must be one of {', '.join(ARCHITECTURES)}")
    config: ModelConfig = from_plain(ARCHITECTURES[name].config, shape, f"model ({name})")
    return config


def plain_model_config(config: ModelConfig) -> dict[str, Any]:
    """The mapping that `model_config` reads."""
    return {"architecture": _name(config), **to_plain(config)}


def build(config: ModelConfig, seed: int) -> nn.Module:
    """The model on the CPU in fp32 with the initial weights of `seed`: the same whatever the layout."""
    architecture = ARCHITECTURES[_name(config)]
    model = architecture.model(config)
    initialise(model, lambda name: architecture.initial(name, config), seed)
    return model


def build_empty(config: ModelConfig, device: str) -> nn.Module:
    """The model without initial weights, to be loaded; on the device "meta" it takes no memory."""
    with torch.device(device):
        return ARCHITECTURES[_name(config)].model(config)


def _name(config: ModelConfig) -> str:
    return next(name for name, architecture in ARCHITECTURES.items() if isinstance(config, architecture.config))
