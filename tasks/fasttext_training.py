"""Trains a supervised fastText model with one thread, in a process of its own whose memory is clear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fasttext

from infra.child import run_in_child

# fastText 0.9.3 sets a tenth of its matrix with one thread (DenseMatrix::uniform) and leaves the rest as malloc gives
# it: zeros in the new process of its command line, but in Python what was there before, up to NaN. glibc fills memory
# with the complement of this byte, where no cache of a thread gives it back as it was.
CLEAR_MEMORY = {"GLIBC_TUNABLES": "glibc.malloc.perturb=255:glibc.malloc.tcache_count=0"}


def train(lines: Path, options: dict[str, Any], model: Path) -> None:
    """Train on a file with a label and a text in each line, and write the model's file.

    It is that of ``fasttext supervised -thread 1`` with the same file and options, byte for byte, where both are built
    for the same processor: with ``-march=native`` sums are rounded in another way. Raises ValueError when fastText
    cannot be trained on the lines.
    """
    run_in_child(_train, str(lines), options, str(model), budget=None, environment=CLEAR_MEMORY)


def _train(lines: str, options: dict[str, Any], model: str) -> None:
    try:
        trained = fasttext.train_supervised(lines, **options)
    except RuntimeError as error:
        raise ValueError(f"fastText cannot be trained ({error}): lower learning_rate") from error
    if not trained.words:
        raise ValueError(f"no word stands {options.get('minCount', 1):,} times in the lines: lower minimum_count")
    trained.save_model(model)
