"""The weights of a model that a test has made."""

from __future__ import annotations

from model.architectures.layers import LanguageModel
from model.huggingface.weights import SpecialTokens, Weights

UNKNOWN = SpecialTokens()


def weights_of(model: LanguageModel, special_tokens: SpecialTokens = UNKNOWN) -> Weights:
    """The weights of a model as they are."""
    return Weights(model.config, {name: value.detach() for name, value in model.named_parameters()}, special_tokens)
