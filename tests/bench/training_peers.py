"""The models of others that the training benchmark times beside ours, each with the benchmark's weights in it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from model.architectures.registry import architecture_name
from tests.bench.plain_neox import PlainNeoX
from tests.bench.training_sides import Case, Model, visible_weights


def transformers_model(case: Case) -> Model | None:
    """The model's class in `transformers` with PyTorch's fused attention; None where it is not installed."""
    transformers = _importable("transformers")
    if transformers is None:
        return None
    # They stand on packages that come with `transformers`, and may be missing without it.
    from model.huggingface.configuration import config_there
    from model.huggingface.weights import SpecialTokens

    values = config_there(case.config, SpecialTokens(), "float32")
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values, use_cache=False)
    with torch.device(case.device):
        module = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    renamed = "embed_out.weight" not in module.state_dict()

    def convert(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        named = _names_there(case, tensors)
        if renamed and "embed_out.weight" in named:
            named["lm_head.weight"] = named.pop("embed_out.weight")
        return named

    return _filled(Model("transformers", module, lambda tokens: module(tokens).logits, convert), case)


def plain_model(case: Case) -> Model | None:
    """The readable model of `tests.bench.plain_neox`; None for other families than Pythia."""
    if architecture_name(case.config) != "pythia":
        return None
    with torch.device(case.device):
        module = PlainNeoX(case.config)
    return _filled(Model("plain", module, module, dict), case)


def litgpt_model(case: Case) -> Model | None:
    """litgpt's model of the same shape; None where it is not installed, and for other families than Pythia."""
    litgpt = _importable("litgpt")
    if litgpt is None or architecture_name(case.config) != "pythia":
        return None
    config: Any = case.config
    shape = litgpt.Config(
        name=case.name,
        block_size=config.positions,
        n_layer=config.layers,
        n_head=config.heads,
        n_embd=config.width,
        vocab_size=config.vocabulary,
        padded_vocab_size=config.vocabulary,
        rotary_percentage=config.rotary_fraction,
        rope_base=int(config.rotary_base),
        gelu_approximate="tanh" if config.gelu == "tanh" else "none",
        norm_eps=config.norm_epsilon,
    )
    with torch.device(case.device):
        module = litgpt.GPT(shape)
    converter = importlib.import_module("litgpt.scripts.convert_hf_checkpoint")

    def convert(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        named: dict[str, Tensor] = {}
        converter.copy_weights_gpt_neox(shape, named, _names_there(case, tensors))
        return named

    return _filled(Model("litgpt", module, module, convert), case)


PEERS: dict[str, Callable[[Case], Model | None]] = {
    "transformers": transformers_model,
    "plain": plain_model,
    "litgpt": litgpt_model,
}


def _filled(model: Model, case: Case) -> Model:
    model.module.load_state_dict(model.convert(visible_weights(case)))
    return model


def _names_there(case: Case, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    from model.huggingface.configuration import adapter_of

    return {adapter_of(case.config).name_there(name): value for name, value in tensors.items()}


def _importable(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
