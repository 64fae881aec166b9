"""Folders in this project's format: weights.safetensors by logical names, and model.json with the configuration."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from model.architectures.config_json import mapping
from model.architectures.registry import model_config, plain_model_config
from model.configuration import from_plain, to_plain
from model.huggingface.folder import read_json
from model.huggingface.weights import SpecialTokens, StoredTensors, Weights, WeightsError, stored_names

MODEL, WEIGHTS = "model.json", "weights.safetensors"
FORMAT = 1


def write_plain(weights: Weights, folder: Path) -> None:
    """Write weights, each tensor in its own dtype. Needs memory for the whole model."""
    save_file({name: tensor.contiguous() for name, tensor in weights.tensors.items()}, folder / WEIGHTS)
    values = {
        "format": FORMAT,
        "model_config": plain_model_config(weights.config),
        "special_tokens": to_plain(weights.special_tokens),
    }
    (folder / MODEL).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_plain(folder: Path) -> Weights:
    """The weights in such a folder; tensors are read on access. Raises WeightsError when they cannot be read."""
    values = read_json(folder / MODEL)
    if values.get("format") != FORMAT:
        raise WeightsError(
            f"{folder / MODEL} has format {values.get('format')}, not {FORMAT}; import the weights again"
        )
    try:
        config = model_config(mapping(values, "model_config"))
        special_tokens = from_plain(SpecialTokens, mapping(values, "special_tokens"), "special_tokens")
    except ValueError as error:
        raise WeightsError(f"{folder / MODEL}: {error}") from error
    path = folder / WEIGHTS
    tensors = StoredTensors({name: (path, name) for name in stored_names(path)})
    try:
        return Weights(config, tensors, special_tokens)
    except WeightsError as error:
        raise WeightsError(f"{folder}: {error}; import the weights again") from error
