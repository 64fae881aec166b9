"""Models by the name of their architecture: `pythia` is the module `model.pythia`, and so on.

A module of an architecture holds a frozen configuration with a `parameters` count, the model, `initial`, which says
how each parameter starts, and `split`, which says how tensor parallelism cuts each module. Logical names begin with
`embedding.`, `layers.N.` or `head.`. A new architecture is one such file, its line here and its presets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.architectures.initialisation import Fill, initialise, keyed_generator
from model.architectures.layers import LanguageModel, Split
from model.architectures.llama import model as llama
from model.architectures.opt import model as opt
from model.architectures.pythia import model as pythia
from model.configuration import from_plain, to_plain
from model.state.boxes import Box, whole
from model.state.slices import Kind, ReadState

ModelConfig = pythia.PythiaConfig | opt.OptConfig | llama.LlamaConfig


@dataclass(frozen=True)
class Architecture:
    """What a module of an architecture offers."""

    config: type[Any]
    model: Callable[[Any], LanguageModel]
    initial: Callable[[str, Any], Fill]
    split: Callable[[str], Split]


ARCHITECTURES = {
    "pythia": Architecture(pythia.PythiaConfig, pythia.Pythia, pythia.initial, pythia.split),
    "opt": Architecture(opt.OptConfig, opt.Opt, opt.initial, opt.split),
    "llama": Architecture(llama.LlamaConfig, llama.Llama, llama.initial, llama.split),
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
    architecture = ARCHITECTURES[architecture_name(config)]
    model = architecture.model(config)
    initialise(model, lambda name: architecture.initial(name, config), seed)
    return model


def initial_state(config: ModelConfig, seed: int) -> ReadState:
    """The state before any update, the same whatever the layout: the initial weights of `seed`, and moments of zero.

    The tensor that was read last is held, so that its parts can be read one after another; never two of them.
    """
    architecture = ARCHITECTURES[architecture_name(config)]
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
        return ARCHITECTURES[architecture_name(config)].model(config)


def architecture_name(config: ModelConfig) -> str:
    """The name under which the architecture of this configuration stands in ARCHITECTURES."""
    return next(name for name, architecture in ARCHITECTURES.items() if isinstance(config, architecture.config))
