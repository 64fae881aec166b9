"""Converts a model's configuration to and from the `config.json` of `transformers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.architectures.architecture import HuggingFaceAdapter, ModelConfig, NotDeclared
from model.architectures.config_json import size, token
from model.architectures.registry import ARCHITECTURES, architecture_of
from model.huggingface.weights import SpecialTokens, WeightsError


def adapter_of(config: ModelConfig) -> HuggingFaceAdapter:
    """The Hugging Face adapter for this configuration. Raises WeightsError when its architecture has none."""
    try:
        return architecture_of(config).require_huggingface()
    except NotDeclared as error:
        raise WeightsError(str(error)) from error


def config_there(config: ModelConfig, special_tokens: SpecialTokens, dtype: str) -> dict[str, Any]:
    """The `config.json` for these weights; `dtype` is the dtype of the tensors, such as "float32".

    Writes only keys that transformers 4 and 5 both read. Unknown token ids are null, because the defaults of
    transformers belong to other tokenizers. Raises WeightsError for an architecture without a Hugging Face adapter.
    """
    adapter = adapter_of(config)
    return {
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "max_position_embeddings": config.positions,
        "bos_token_id": special_tokens.begin,
        "eos_token_id": special_tokens.end,
        "pad_token_id": special_tokens.padding,
        "torch_dtype": dtype,
        "architectures": [adapter.model_class],
        "model_type": adapter.model_type,
        **adapter.write_config(config),
    }


def config_here(values: Mapping[str, Any]) -> tuple[ModelConfig, SpecialTokens]:
    """The configuration in a `config.json`; missing entries take the defaults of `transformers`.

    Raises WeightsError for an unknown architecture, an unsupported variant, quantized weights, and entries of a wrong
    type.
    """
    adapters = {
        architecture.huggingface.model_type: architecture.huggingface
        for architecture in ARCHITECTURES.values()
        if architecture.huggingface
    }
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in adapters:
        raise WeightsError(f"model_type is {kind!r}; it must be one of {', '.join(adapters)}")
    if values.get("quantization_config") is not None:
        raise WeightsError(
            "quantization_config: these weights are quantized, which is not supported; use the folder that they were "
            "quantized from, or save them as floats (`model.dequantize()` in transformers)"
        )
    try:
        common = {
            "vocabulary": size(values, "vocab_size"),
            "positions": size(values, "max_position_embeddings"),
            "layers": size(values, "num_hidden_layers"),
            "width": size(values, "hidden_size"),
            "heads": size(values, "num_attention_heads"),
        }
        config: ModelConfig = adapters[kind].read_config(values, common)
        tokens = [token(values, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")]
    except KeyError as error:
        raise WeightsError(f"{error.args[0]} is missing; the file is incomplete or foreign, fetch it again") from error
    except ValueError as error:
        raise WeightsError(str(error)) from error
    return config, SpecialTokens(begin=tokens[0], end=tokens[1], padding=tokens[2])
