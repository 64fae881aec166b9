"""A model's shape to and from the `config.json` of `transformers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from model.architectures.llama.model import LlamaConfig
from model.architectures.opt.model import NORM_EPSILON, OptConfig
from model.architectures.pythia.model import PythiaConfig
from model.architectures.registry import ModelConfig
from model.huggingface.entries import expect, flag, mapping, number, positive, size, token
from model.huggingface.weights import SpecialTokens, WeightsError

# `gelu_fast` is what the published NeoX-20B says. `gelu`, the default there, is the other form: a converter that says
# nothing changes what the model computes (gpt-neox, `tools/ckpts/convert_neox_to_hf.py`).
ACTIVATIONS = {"tanh": "gelu_fast", "erf": "gelu"}
TANH = ("gelu_fast", "gelu_new", "gelu_pytorch_tanh")
MODEL_TYPES = {"gpt_neox": "pythia", "opt": "opt", "llama": "llama"}


def config_there(config: ModelConfig, special_tokens: SpecialTokens, dtype: str) -> dict[str, Any]:
    """The `config.json` for these weights; `dtype` is that of the tensors, such as "float32".

    Keys are those that transformers 4 and 5 both read. Ids that are not known are null, as the defaults there are
    those of other tokenizers.
    """
    common = {
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "max_position_embeddings": config.positions,
        "bos_token_id": special_tokens.begin,
        "eos_token_id": special_tokens.end,
        "pad_token_id": special_tokens.padding,
        "torch_dtype": dtype,
    }
    if isinstance(config, PythiaConfig):
        return common | {
            "architectures": ["GPTNeoXForCausalLM"],
            "model_type": "gpt_neox",
            "intermediate_size": 4 * config.width,
            "hidden_act": ACTIVATIONS[config.gelu],
            "layer_norm_eps": config.norm_epsilon,
            "rotary_pct": config.rotary_fraction,
            "rotary_emb_base": config.rotary_base,
            "use_parallel_residual": True,
            "attention_bias": True,
            "tie_word_embeddings": False,
        }
    if isinstance(config, OptConfig):
        return common | {
            "architectures": ["OPTForCausalLM"],
            "model_type": "opt",
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
    return common | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "intermediate_size": config.feed_forward,
        "num_key_value_heads": config.heads,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rotary_base,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
    }


def config_here(values: Mapping[str, Any]) -> tuple[ModelConfig, SpecialTokens]:
    """The shape in a `config.json`, with the defaults of `transformers` for what it leaves out.

    Raises WeightsError for a model that is none of the families, a form of one that does not exist here, quantized
    weights, and entries of another type than theirs.
    """
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_TYPES:
        raise WeightsError(f"model_type is {kind!r}; it must be one of {', '.join(MODEL_TYPES)}")
    if values.get("quantization_config") is not None:
        raise WeightsError(
            "quantization_config: these weights are quantized, which a model here does not read; take the folder that "
            "they were made from, or save them as floats (`model.dequantize()` in transformers)"
        )
    architecture = MODEL_TYPES[kind]
    try:
        common = {
            "vocabulary": size(values, "vocab_size"),
            "positions": size(values, "max_position_embeddings"),
            "layers": size(values, "num_hidden_layers"),
            "width": size(values, "hidden_size"),
            "heads": size(values, "num_attention_heads"),
        }
        config = READERS[architecture](values, common)
    except KeyError as error:
        raise WeightsError(f"{error.args[0]} is missing; the file is cut short or of another library") from error
    except ValueError as error:
        raise WeightsError(str(error)) from error
    return config, SpecialTokens(*(token(values, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")))


def _pythia(values: Mapping[str, Any], common: dict[str, Any]) -> PythiaConfig:
    expect(values, "use_parallel_residual", True, True)
    expect(values, "tie_word_embeddings", False, False)
    expect(values, "attention_bias", True, True)
    expect(values, "intermediate_size", 4 * common["width"])
    activation = values.get("hidden_act", "gelu")
    if activation not in ("gelu", *TANH):
        raise WeightsError(f"hidden_act is {activation!r}; it must be one of gelu, {', '.join(TANH)}")
    rope = _rope(values)
    return PythiaConfig(
        **common,
        rotary_fraction=number(rope, "partial_rotary_factor", number(values, "rotary_pct", 0.25)),
        rotary_base=positive(rope, "rope_theta", positive(values, "rotary_emb_base", 10_000.0)),
        norm_epsilon=positive(values, "layer_norm_eps", 1e-5),
        gelu="erf" if activation == "gelu" else "tanh",
    )


def _opt(values: Mapping[str, Any], common: dict[str, Any]) -> OptConfig:
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


def _llama(values: Mapping[str, Any], common: dict[str, Any]) -> LlamaConfig:
    expect(values, "hidden_act", "silu", "silu")
    expect(values, "attention_bias", False, False)
    expect(values, "mlp_bias", False, False)
    expect(values, "tie_word_embeddings", False, False)
    for name, only in (("num_key_value_heads", common["heads"]), ("head_dim", common["width"] // common["heads"])):
        if values.get(name) is not None:
            expect(values, name, only)
    rope, feed_forward = _rope(values), size(values, "intermediate_size")
    # The multiple is not in the file; the paper's gives its widths, and any other width is a multiple of itself.
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
        raise WeightsError(
            f"intermediate_size is {feed_forward}; LLaMA's is at least {8 * config.width // 3} at a width of "
            f"{config.width}"
        )
    return config


READERS: dict[str, Callable[[Mapping[str, Any], dict[str, Any]], ModelConfig]] = {
    "pythia": _pythia,
    "opt": _opt,
    "llama": _llama,
}


def _rope(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """transformers 5 keeps what it knows of the rotation in one mapping, transformers 4 in keys of its own."""
    rope = mapping(values, "rope_parameters") or mapping(values, "rope_scaling")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise WeightsError(f"the rotation is of the type {kind!r}; only the plain one is known here")
    return rope
