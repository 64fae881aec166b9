"""LLaMA in `transformers` (`LlamaForCausalLM`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from model.architectures.architecture import HuggingFaceAdapter
from model.architectures.config_json import expect, positive, rotation, size
from model.architectures.llama.model import LlamaConfig

MODULES = {
    "embedding.tokens": "model.embed_tokens",
    "layers.attention_norm": "model.layers.{}.input_layernorm",
    "layers.attention.query": "model.layers.{}.self_attn.q_proj",
    "layers.attention.key": "model.layers.{}.self_attn.k_proj",
    "layers.attention.value": "model.layers.{}.self_attn.v_proj",
    "layers.attention.output": "model.layers.{}.self_attn.o_proj",
    "layers.feed_forward_norm": "model.layers.{}.post_attention_layernorm",
    "layers.feed_forward.gate": "model.layers.{}.mlp.gate_proj",
    "layers.feed_forward.up": "model.layers.{}.mlp.up_proj",
    "layers.feed_forward.down": "model.layers.{}.mlp.down_proj",
    "head.norm": "model.norm",
    "head.output": "lm_head",
}


def write_config(config: LlamaConfig) -> dict[str, Any]:
    """The entries of config.json that only this architecture has."""
    return {
        "intermediate_size": config.feed_forward,
        "num_key_value_heads": config.heads,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rotary_base,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
    }


def read_config(values: Mapping[str, Any], common: dict[str, Any]) -> LlamaConfig:
    """A configuration from config.json. Raises ValueError, or KeyError for a missing entry."""
    expect(values, "hidden_act", "silu", "silu")
    expect(values, "attention_bias", False, False)
    expect(values, "mlp_bias", False, False)
    expect(values, "tie_word_embeddings", False, False)
    for name, only in (("num_key_value_heads", common["heads"]), ("head_dim", common["width"] // common["heads"])):
        if values.get(name) is not None:
            expect(values, name, only)
    rope, feed_forward = rotation(values), size(values, "intermediate_size")
    # The multiple is not in the file. The default gives the paper's widths; for any other, use the width itself.
    config = LlamaConfig(
        **common,
        rotary_base=positive(rope, "rope_theta", positive(values, "rope_theta", 10_000.0)),
        norm_epsilon=positive(values, "rms_norm_eps", 1e-6),
    )
    if config.feed_forward != feed_forward:
        config = LlamaConfig(
            **common,
            feed_forward_multiple=feed_forward,
            rotary_base=config.rotary_base,
            norm_epsilon=config.norm_epsilon,
        )
    if config.feed_forward != feed_forward:
        raise ValueError(
            f"intermediate_size is {feed_forward}; LLaMA's is at least {8 * config.width // 3} at a width of "
            f"{config.width}"
        )
    return config


HUGGINGFACE = HuggingFaceAdapter(
    model_type="llama",
    model_class="LlamaForCausalLM",
    write_config=write_config,
    read_config=read_config,
    modules=MODULES,
    base="model.",
    computed=re.compile(r"\.rotary_emb\.inv_freq$"),
)
