"""Loads supervised models of fastText from files that can be anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import fasttext

from tasks.text.fasttext_line import LABEL

# The first bytes of a model file: FASTTEXT_FILEFORMAT_MAGIC_INT32 of fastText's fasttext.cc, little-endian.
_MAGIC = (793712314).to_bytes(4, "little")


class FasttextModel(Protocol):
    """The part of fastText's interface that stages use: probabilities and labels of a line, best first."""

    def predict(self, line: str, k: int, threshold: float, on_unicode_error: str, /) -> list[tuple[float, str]]: ...


def load_supervised(files: Mapping[str, Path], kind: str, example: str) -> tuple[FasttextModel, list[str]]:
    """The model in the only file of `files`, and its labels without their prefix.

    `kind` and `example` say in messages what the file should be. Raises ValueError if there is not exactly one file, or
    if it is not a supervised fastText model.
    """
    if len(files) != 1:
        raise ValueError(f"{kind} is one fastText file, not {len(files)}: {', '.join(sorted(files))}")
    [path] = files.values()
    with open(path, "rb") as stream:
        if stream.read(4) != _MAGIC:  # fastText itself reads on
            raise ValueError(f"{path} is not a fastText model: give a file like {example}")
    try:
        model: Any = fasttext.load_model(str(path))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is not a fastText model ({error}): give a file like {example}") from error
    if not all(label.startswith(LABEL) for label in model.labels):
        raise ValueError(f"{path} is a fastText model without labels: give a supervised one like {example}")
    # The outer class's predict fails under numpy 2, which refuses a view; the inner object returns plain lists.
    return model.f, [label.removeprefix(LABEL) for label in model.labels]
