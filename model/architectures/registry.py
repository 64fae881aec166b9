"""The registry of architectures. It makes models and configurations by architecture name.

To add an architecture, add a folder beside this file, a line in FOLDERS, and presets. The folder's `ARCHITECTURE`
declares everything that the rest of the code needs.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from model.architectures.architecture import Architecture, ModelConfig, NotDeclared
from model.architectures.initialisation import initialise, keyed_generator
from model.architectures.layers import LanguageModel
from model.configuration import from_plain, to_plain
from model.state.boxes import Box, whole
from model.state.slices import Kind, ReadState

# Folders beside this file. The name is the value of `model.architecture` in run.json and in presets.
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
    """The model on the CPU in fp32 with the initial weights of `seed`, independent of the layout."""
    architecture = architecture_of(config)
    model = architecture.model(config)
    initialise(model, lambda name: architecture.initial(name, config), seed)
    return model


def initial_state(config: ModelConfig, seed: int) -> ReadState:
    """The state before any update, independent of the layout: the initial weights of `seed`, and zero moments.

    Caches the last tensor read and no other, so that its parts can be read one after another.
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
    """The model without initial weights, to be loaded; on the device "meta" it needs no memory."""
    with torch.device(device), _NoInitialValues():
        return architecture_of(config).model(config)


class _NoInitialValues(TorchFunctionMode):
    """Within the block, torch's own modules do not draw the values of their parameters.

    On the device "meta" that takes no time in itself, but torch imports its compiler for it, for three seconds.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else named["tensor"]
        return function(*args, **named)


def architecture_of(config: ModelConfig) -> Architecture:
    """The architecture of a configuration. Raises NotDeclared when it is not in the registry."""
    for architecture in ARCHITECTURES.values():
        if isinstance(config, architecture.config):
            return architecture
    raise NotDeclared(
        f"{type(config).__name__} belongs to no registered architecture; add its folder to FOLDERS in registry.py"
    )


def architecture_name(config: ModelConfig) -> str:
    """The name of this configuration's architecture in ARCHITECTURES."""
    return architecture_of(config).name
