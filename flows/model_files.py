"""Files of models that a recipe names: opened before any work, so that a wrong one is told now and not hours later."""

from __future__ import annotations

from pathlib import Path

from infra.models import bundled_model
from tasks.tokenizer import load_tokenizer

# FASTTEXT_FILEFORMAT_MAGIC_INT32 of fastText's fasttext.cc, with which a model file begins, as little-endian.
_FASTTEXT = (793712314).to_bytes(4, "little")


def language_model_faults(model: str) -> list[str]:
    """What is wrong with the language model ``bundled:NAME`` or at a path; nothing, if it can be used."""
    kind, _, name = model.partition(":")
    path = Path(model)
    try:
        if kind == "bundled":
            bundled_model(name)
            return []
    except ValueError as error:
        return [f"language.model: {error}"]
    if not path.is_file():
        return [f"language.model: there is no file {model}; give one like lid.176.ftz, or bundled:lid.176.ftz"]
    # Only the beginning: fastText itself goes round in circles on a file that was cut off.
    with open(path, "rb") as stream:
        if stream.read(4) != _FASTTEXT:
            return [f"language.model: {path} is not a fastText model; give one like lid.176.ftz"]
    return []


def tokenizer_faults(file: str | None) -> list[str]:
    """What is wrong with the tokenizer in `file`; nothing, if it can be used, or none is named."""
    if file is None:
        return []
    path = Path(file)
    if not path.is_file():
        return [f"tokenizer.file: there is no file {path}; leave it out, and one is fitted"]
    try:
        load_tokenizer(path)
    except ValueError as error:
        return [f"tokenizer.file: {error}"]
    return []
