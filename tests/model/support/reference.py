"""Models with random weights, and transformers' own classes with the same ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from model.architectures.architecture import ModelConfig
from model.architectures.layers import LanguageModel
from model.architectures.llama.model import LlamaConfig
from model.architectures.opt.model import OptConfig
from model.architectures.registry import architecture_name, build, model_config
from model.huggingface.configuration import adapter_of
from tests.model.support.small import SHAPES


def random_model(architecture: str, **changes: Any) -> LanguageModel:
    """A small model whose weights are large and different everywhere, biases and norms too.

    So no term is hidden by zeros and ones, and logits have a standard deviation of at least 1.
    """
    model = build(model_config(SHAPES[architecture] | changes), 3)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.25)
    return model


def reference_model(config: ModelConfig, vocabulary: int | None = None, **changes: Any) -> Any:
    """The class of `transformers` for this shape, configured by hand, not by what we write."""
    from transformers import (
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
        LlamaForCausalLM,
        OPTConfig,
        OPTForCausalLM,
    )
    from transformers import (
        LlamaConfig as TheirLlamaConfig,
    )

    common = {
        "vocab_size": vocabulary or config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "max_position_embeddings": config.positions,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if isinstance(config, OptConfig):
        values = {
            "ffn_dim": 4 * config.width,
            "do_layer_norm_before": config.norm_first,
            "word_embed_proj_dim": config.embedding_width or config.width,
            "dropout": 0.0,
        }
        return OPTForCausalLM(OPTConfig(**{**common, **values, **changes}))
    if isinstance(config, LlamaConfig):
        values = {"intermediate_size": config.feed_forward, "rms_norm_eps": config.norm_epsilon}
        return LlamaForCausalLM(TheirLlamaConfig(**{**common, **values, **changes}))
    rope = {
        "rope_type": "default",
        "rope_theta": config.rotary_base,
        "partial_rotary_factor": config.rotary_fraction,
    }
    values = {
        "intermediate_size": 4 * config.width,
        "hidden_act": {"tanh": "gelu_new", "erf": "gelu"}[config.gelu],
        "rope_parameters": rope,
        "layer_norm_eps": config.norm_epsilon,
    }
    return GPTNeoXForCausalLM(GPTNeoXConfig(**{**common, **values, **changes}))


def copy_into(ours: LanguageModel, theirs: nn.Module, strict: bool = True) -> dict[str, nn.Parameter]:
    """Copy our weights into their model, as many words as it has, and return its parameters by our names."""
    architecture = architecture_name(ours.config)
    held = {name.replace("lm_head", "embed_out"): parameter for name, parameter in theirs.named_parameters()}
    if architecture == "llama":
        held = dict(theirs.named_parameters())
    named = {name: adapter_of(ours.config).name_there(name) for name, _ in ours.named_parameters()}
    assert not strict or sorted(named.values()) == sorted(held)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if named[name] in held:
                there = held[named[name]]
                there.copy_(parameter[: len(there)])
    return {name: held[there] for name, there in named.items() if there in held}


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """max |ours - theirs| over max |theirs|."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()
