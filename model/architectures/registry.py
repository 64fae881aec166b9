"""The registry of architectures, and models and configurations by the name of their architecture.

A new architecture is one folder beside this file, its line in FOLDERS and its presets. The folder's
`ARCHITECTURE` declares all that the rest of the code asks of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from model.architectures.architecture import Architecture, ModelConfig, NotDeclared
from model.architectures.initialisation import initialise, keyed_generator
from model.architectures.layers import LanguageModel
from model.configuration import from_plain, to_plain
from model.state.boxes import Box, whole
from model.state.slices import Kind, ReadState

# Folders beside this file, one line each. The name is the value of `model.architecture` in run.json and in presets.
FOLDERS = (
    "pythia",
    "opt",
    "llama",
)
ARCHITECTURES: dict[str, Architecture] = {
    name: importlib.import_module(f"model.architectures.{name}").ARCHITECTURE for name in FOLDERS
}


def model_config(values: Mapping[str, Any]) -> ModelConfig:
    """The configuration in a mapping such as {"architecture": "pythia", "layers": 6, …}. Raises ValueError."""
    shape = dict(values)
    name = shape.pop("architecture", None)
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ValueError(f"model.architecture is {name!r}; it must be one of {', '.join(ARCHITECTURES)}")
    config: ModelConfig = from_plain(ARCHITECTURES[name].config, shape, f"model ({name})")
    return config


def plain_model_config(config: ModelConfig) -> dict[str, Any]:
    """The mapping that `model_config` reads."""
    return {"architecture": architecture_name(config), **to_plain(config)}


def build(config: ModelConfig, seed: int) -> LanguageModel:
    """The model on the CPU in fp32 with the initial weights of `seed`: the same whatever the layout."""
    architecture = architecture_of(config)
    model = architecture.model(config)
    initialise(model, lambda name: architecture.initial(name, config), seed)
    return model


def initial_state(config: ModelConfig, seed: int) -> ReadState:
    """The state before any update, the same whatever the layout: the initial weights of `seed`, and moments of zero.

    The tensor that was read last is held, so that its parts can be read one after another; never two of them.
    """
    architecture = architecture_of(config)
    shapes = {name: tuple(held.shape) for name, held in build_empty(config, "meta").named_parameters()}
    made: dict[str, Tensor] = {}

    def read(name: str, kind: Kind, box: Box) -> Tensor:
        if kind != "weight":
            return torch.zeros(()).expand(box.shape)
        if name not in made:
            made.clear()
            made[name] = torch.empty(shapes[name])
            architecture.initial(name, config)(made[name], keyed_generator(seed, name))
        return made[name][box.inside(whole(shapes[name]))]

    return read


def build_empty(config: ModelConfig, device: str) -> LanguageModel:
    """The model without initial weights, to be loaded; on the device "meta" it takes no memory."""
    with torch.device(device):
        return architecture_of(config).model(config)


def architecture_of(config: ModelConfig) -> Architecture:
    """The architecture of a configuration. Raises NotDeclared when it is not in the registry."""
    for architecture in ARCHITECTURES.values():
        if isinstance(config, architecture.config):
            return architecture
    raise NotDeclared(f"{type(config).__name__} is the configuration of no architecture in the registry")


def architecture_name(config: ModelConfig) -> str:
    """The name under which the architecture of this configuration stands in ARCHITECTURES."""
    return architecture_of(config).name
