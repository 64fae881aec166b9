"""What each parameter is called in `transformers`."""

from __future__ import annotations

import re

# Architecture -> our module name, without a layer's number -> the name there. "{}" is the layer's number.
MODULES: dict[str, dict[str, str]] = {
    "pythia": {
        "embedding.tokens": "gpt_neox.embed_in",
        "layers.attention_norm": "gpt_neox.layers.{}.input_layernorm",
        "layers.attention.query_key_value": "gpt_neox.layers.{}.attention.query_key_value",
        "layers.attention.output": "gpt_neox.layers.{}.attention.dense",
        "layers.feed_forward_norm": "gpt_neox.layers.{}.post_attention_layernorm",
        "layers.feed_forward.up": "gpt_neox.layers.{}.mlp.dense_h_to_4h",
        "layers.feed_forward.down": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
        "head.norm": "gpt_neox.final_layer_norm",
        "head.output": "embed_out",
    },
    "opt": {
        "embedding.tokens": "model.decoder.embed_tokens",
        "embedding.positions": "model.decoder.embed_positions",
        "embedding.project": "model.decoder.project_in",
        "layers.attention_norm": "model.decoder.layers.{}.self_attn_layer_norm",
        "layers.attention.query": "model.decoder.layers.{}.self_attn.q_proj",
        "layers.attention.key": "model.decoder.layers.{}.self_attn.k_proj",
        "layers.attention.value": "model.decoder.layers.{}.self_attn.v_proj",
        "layers.attention.output": "model.decoder.layers.{}.self_attn.out_proj",
        # Not the last norm of the model, whatever its name says.
        "layers.feed_forward_norm": "model.decoder.layers.{}.final_layer_norm",
        "layers.feed_forward.up": "model.decoder.layers.{}.fc1",
        "layers.feed_forward.down": "model.decoder.layers.{}.fc2",
        "head.norm": "model.decoder.final_layer_norm",
        "head.project": "model.decoder.project_out",
    },
    "llama": {
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
    },
}
# GPT-NeoX's output is `embed_out` in published files, and `lm_head` in the classes of transformers 5.
ALIASES = {"pythia": {"lm_head.weight": "embed_out.weight"}, "opt": {}, "llama": {}}
# Tensors of files that are no parameters but a function of the shape: causal masks and rotary frequencies.
COMPUTED = re.compile(r"\.attention\.(bias|masked_bias)$|\.rotary_emb\.inv_freq$")
# OPT's output is its embedding; a file may hold it a second time.
TIED = {"opt": ("lm_head.weight", "model.decoder.embed_tokens.weight")}


def name_there(architecture: str, name: str) -> str:
    """`layers.3.attention.output.weight` -> `gpt_neox.layers.3.attention.dense.weight`."""
    module, _, kind = name.rpartition(".")
    number = re.match(r"layers\.(\d+)\.", module)
    key = f"layers.{module[number.end() :]}" if number else module
    return MODULES[architecture][key].format(number[1] if number else "") + f".{kind}"
