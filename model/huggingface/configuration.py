"""A model's shape to and from the `config.json` of `transformers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.architectures.architecture import HuggingFaceAdapter, ModelConfig, NotDeclared
from model.architectures.config_json import size, token
from model.architectures.registry import ARCHITECTURES, architecture_of
from model.huggingface.weights import SpecialTokens, WeightsError


def adapter_of(config: ModelConfig) -> HuggingFaceAdapter:
    """How weights of this configuration are stored in `transformers`. Raises WeightsError when that is not known."""
    try:
        return architecture_of(config).require_huggingface()
    except NotDeclared as error:
        raise WeightsError(str(error)) from error


def config_there(config: ModelConfig, special_tokens: SpecialTokens, dtype: str) -> dict[str, Any]:
    """The `config.json` for these weights; `dtype` is that of the tensors, such as "float32".

    Keys are those that transformers 4 and 5 both read. Ids that are not known are null, as the defaults there are
    those of other tokenizers. Raises WeightsError for an architecture without a Hugging Face adapter.
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
    """The shape in a `config.json`, with the defaults of `transformers` for what it leaves out.

    Raises WeightsError for a model of no known architecture, a form of one that does not exist here, quantized weights,
    and entries of a wrong type.
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
            "quantization_config: these weights are quantized, which a model here does not read; take the folder that "
            "they were made from, or save them as floats (`model.dequantize()` in transformers)"
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
        raise WeightsError(f"{error.args[0]} is missing; the file is cut short or of another library") from error
    except ValueError as error:
        raise WeightsError(str(error)) from error
    return config, SpecialTokens(begin=tokens[0], end=tokens[1], padding=tokens[2])
