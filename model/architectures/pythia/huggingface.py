"""GPT-NeoX in `transformers` (`GPTNeoXForCausalLM`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from model.architectures.architecture import HuggingFaceAdapter
from model.architectures.config_json import expect, number, positive, rotation
from model.architectures.pythia.model import PythiaConfig

# The published NeoX-20B has `gelu_fast`. The default of transformers, `gelu`, is the erf form: a converter that omits
# the entry changes what the model computes (gpt-neox, `tools/ckpts/convert_neox_to_hf.py`).
ACTIVATIONS = {"tanh": "gelu_fast", "erf": "gelu"}
TANH = ("gelu_fast", "gelu_new", "gelu_pytorch_tanh")
MODULES = {
    "embedding.tokens": "gpt_neox.embed_in",
    "layers.attention_norm": "gpt_neox.layers.{}.input_layernorm",
    "layers.attention.query_key_value": "gpt_neox.layers.{}.attention.query_key_value",
    "layers.attention.output": "gpt_neox.layers.{}.attention.dense",
    "layers.feed_forward_norm": "gpt_neox.layers.{}.post_attention_layernorm",
    "layers.feed_forward.up": "gpt_neox.layers.{}.mlp.dense_h_to_4h",
    "layers.feed_forward.down": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
    "head.norm": "gpt_neox.final_layer_norm",
    "head.output": "embed_out",
}


def write_config(config: PythiaConfig) -> dict[str, Any]:
    """The entries of config.json that only this architecture has."""
    return {
        "intermediate_size": 4 * config.width,
        "hidden_act": ACTIVATIONS[config.gelu],
        "layer_norm_eps": config.norm_epsilon,
        "rotary_pct": config.rotary_fraction,
        "rotary_emb_base": config.rotary_base,
        "use_parallel_residual": True,
        "attention_bias": True,
        "tie_word_embeddings": False,
    }


def read_config(values: Mapping[str, Any], common: dict[str, Any]) -> PythiaConfig:
    """A configuration from config.json. Raises ValueError, or KeyError for a missing entry."""
    expect(values, "use_parallel_residual", True, True)
    expect(values, "tie_word_embeddings", False, False)
    expect(values, "attention_bias", True, True)
    expect(values, "intermediate_size", 4 * common["width"])
    activation = values.get("hidden_act", "gelu")
    if activation not in ("gelu", *TANH):
        raise ValueError(f"hidden_act is {activation!r}; it must be one of gelu, {', '.join(TANH)}")
    rope = rotation(values)
    return PythiaConfig(
        **common,
        rotary_fraction=number(rope, "partial_rotary_factor", number(values, "rotary_pct", 0.25)),
        rotary_base=positive(rope, "rope_theta", positive(values, "rotary_emb_base", 10_000.0)),
        norm_epsilon=positive(values, "layer_norm_eps", 1e-5),
        gelu="erf" if activation == "gelu" else "tanh",
    )


HUGGINGFACE = HuggingFaceAdapter(
    model_type="gpt_neox",
    model_class="GPTNeoXForCausalLM",
    write_config=write_config,
    read_config=read_config,
    modules=MODULES,
    base="gpt_neox.",
    # The output layer is `embed_out` in published files, and `lm_head` in the classes of transformers 5.
    aliases={"lm_head.weight": "embed_out.weight"},
    # Causal masks and rotary frequencies.
    computed=re.compile(r"\.attention\.(bias|masked_bias)$|\.rotary_emb\.inv_freq$"),
)
