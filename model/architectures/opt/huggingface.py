"""OPT in `transformers` (`OPTForCausalLM`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.architectures.architecture import HuggingFaceAdapter
from model.architectures.config_json import expect, flag, number, size
from model.architectures.opt.model import NORM_EPSILON, OptConfig

MODULES = {
    "embedding.tokens": "model.decoder.embed_tokens",
    "embedding.positions": "model.decoder.embed_positions",
    "embedding.project": "model.decoder.project_in",
    "layers.attention_norm": "model.decoder.layers.{}.self_attn_layer_norm",
    "layers.attention.query": "model.decoder.layers.{}.self_attn.q_proj",
    "layers.attention.key": "model.decoder.layers.{}.self_attn.k_proj",
    "layers.attention.value": "model.decoder.layers.{}.self_attn.v_proj",
    "layers.attention.output": "model.decoder.layers.{}.self_attn.out_proj",
    # Despite its name, this is not the final norm of the model.
    "layers.feed_forward_norm": "model.decoder.layers.{}.final_layer_norm",
    "layers.feed_forward.up": "model.decoder.layers.{}.fc1",
    "layers.feed_forward.down": "model.decoder.layers.{}.fc2",
    "head.norm": "model.decoder.final_layer_norm",
    "head.project": "model.decoder.project_out",
}


def write_config(config: OptConfig) -> dict[str, Any]:
    """The entries of config.json that only this architecture has."""
    return {
        "ffn_dim": 4 * config.width,
        "activation_function": "relu",
        "do_layer_norm_before": config.norm_first,
        "word_embed_proj_dim": config.embedding_width or config.width,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
        "tie_word_embeddings": True,
    }


def read_config(values: Mapping[str, Any], common: dict[str, Any]) -> OptConfig:
    """A configuration from config.json. Raises ValueError, or KeyError for a missing entry."""
    expect(values, "activation_function", "relu", "relu")
    expect(values, "enable_bias", True, True)
    expect(values, "layer_norm_elementwise_affine", True, True)
    expect(values, "_remove_final_layer_norm", False, False)
    expect(values, "tie_word_embeddings", True, True)
    expect(values, "ffn_dim", 4 * common["width"])
    expect(values, "layer_norm_eps", NORM_EPSILON, NORM_EPSILON)
    embedding = None if values.get("word_embed_proj_dim") is None else size(values, "word_embed_proj_dim")
    return OptConfig(
        **common,
        norm_first=flag(values, "do_layer_norm_before", True),
        embedding_width=None if embedding == common["width"] else embedding,
        dropout=number(values, "dropout", 0.1),
        attention_dropout=number(values, "attention_dropout", 0.0),
    )


HUGGINGFACE = HuggingFaceAdapter(
    model_type="opt",
    model_class="OPTForCausalLM",
    write_config=write_config,
    read_config=read_config,
    modules=MODULES,
    base="model.",
    # The output layer is tied to the embedding; a file may hold both.
    tied=("lm_head.weight", "model.decoder.embed_tokens.weight"),
)
