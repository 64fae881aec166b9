"""A run small enough for tests: real English text as bytes, and models of a few ten thousand parameters."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from infra.store.digests import sha256_file
from infra.store.lake import Lake
from infra.store.manifest import Part, store_part
from infra.store.tokens import TokenFile, TokenWriter
from model.checkpoints.manifest import read_checkpoint
from model.observers.losses import read_losses
from model.run.config import RunConfig, create_run, run_config

END_OF_DOCUMENT = 256  # after the bytes
VOCABULARY = 260  # the 257 tokens, padded so that four tensor-parallel ranks share it
SHAPES = {
    "pythia": {
        "architecture": "pythia",
        "vocabulary": VOCABULARY,
        "positions": 32,
        "layers": 2,
        "width": 32,
        "heads": 4,
    },
    "opt": {
        "architecture": "opt",
        "vocabulary": VOCABULARY,
        "positions": 32,
        "layers": 2,
        "width": 32,
        "heads": 4,
    },
    "opt-post": {
        "architecture": "opt",
        "vocabulary": VOCABULARY,
        "positions": 32,
        "layers": 2,
        "width": 32,
        "heads": 4,
        "norm_first": False,
        "embedding_width": 16,
    },
    "llama": {
        "architecture": "llama",
        "vocabulary": VOCABULARY,
        "positions": 32,
        "layers": 2,
        "width": 32,
        "heads": 4,
        "feed_forward_multiple": 8,
    },
}


def write_text(folder: Path, names: list[str]) -> TokenFile:
    """Topics of Python's own help as a token file, one document each."""
    folder.mkdir(parents=True, exist_ok=True)
    with TokenWriter(folder / "text.bin", folder / "text.idx", VOCABULARY) as writer:
        for name in names:
            writer.append([*topics[name].encode(), END_OF_DOCUMENT])
    return TokenFile(folder / "text.bin", folder / "text.idx")


def training_values(**changes: Any) -> dict[str, Any]:
    """Hyper-parameters of the `training` section, with changes."""
    values: dict[str, Any] = {
        "sequence_length": 32,
        "batch": 8,
        "steps": 24,
        "schedule": {"kind": "cosine", "learning_rate": 1e-2, "minimum": 1e-3, "warmup": 3, "decay": 24},
        "optimizer": {"betas": [0.9, 0.95], "epsilon": 1e-8, "weight_decay": 0.1, "clip": 1.0},
        "checkpoints": {"kind": "every", "every": 4},
    }
    return values | changes


def small_run(
    lake: Lake,
    folder: Path,
    architecture: str = "pythia",
    label: str = "",
    shape: dict[str, Any] | None = None,
    epochs: int = 1,
    **changes: Any,
) -> RunConfig:
    """A run over two sources, created in the lake; `shape` changes the model's, `changes` the hyper-parameters.

    One epoch has sequences for 281 steps.
    """
    sources = []
    for name, weight, documents in (("first", 3.0, sorted(topics)[:20]), ("second", 1.0, sorted(topics)[20:30])):
        file = write_text(folder / name, documents)
        sources.append(store_tokens(lake, file.bin_path, file.idx_path, name, weight, epochs))
    values = {
        "model": SHAPES[architecture] | (shape or {}),
        "training": training_values(**changes),
        "sources": sources,
        "seed": 7,
        "label": label,
    }
    config = run_config(values)
    create_run(lake, config)
    return config


def store_tokens(
    lake: Lake, bin_path: Path, idx_path: Path, name: str, weight: float = 1.0, epochs: int = 1
) -> dict[str, Any]:
    """Put a token file into the lake; gives the source as it stands in a run's configuration."""
    bin_part, idx_part = (_part(lake, path, name) for path in (bin_path, idx_path))
    return {"name": name, "weight": weight, "epochs": epochs, "bin": bin_part, "idx": idx_part}


def _part(lake: Lake, path: Path, name: str) -> dict[str, Any]:
    content = sha256_file(path)
    part: Part = store_part(lake, path, name=f"{name}{path.suffix}", rows=-1, content=content, suffix=path.suffix)
    return {field: getattr(part, field) for field in ("sha256", "bytes", "rows", "content", "name", "suffix")}


def same_end(unbroken: Lake, other: Lake, config: RunConfig) -> bool:
    """Whether two runs of one configuration ended in the same bits: weights, moments, random streams, the trainer's own
    state, and of every step the loss, gradient norm, learning rate, sequences and loss scale.

    A checkpoint's digest covers all of its state, and by its parent that of every checkpoint before it.
    """
    lakes = (unbroken, other)
    ends = [read_checkpoint(lake, config.key, config.training.steps) for lake in lakes]
    losses = [[replace(record, seconds=0.0) for record in read_losses(lake, config.key)] for lake in lakes]
    assert len(losses[0]) == config.training.steps
    return ends[0] == ends[1] and losses[0] == losses[1]


def loss_difference(unbroken: Lake, other: Lake, config: RunConfig) -> float:
    """The largest |Δ loss| / |loss| of all steps; infinite when a step or its sequences are not the same."""
    losses = [read_losses(lake, config.key) for lake in (unbroken, other)]
    assert len(losses[0]) == config.training.steps
    same = [[(record.step, record.sequences, record.tokens, record.skipped) for record in one] for one in losses]
    pairs = [(one.loss, two.loss) for one, two in zip(*losses, strict=False)]
    if same[0] != same[1] or any(None in pair for pair in pairs):
        return math.inf
    return max(abs(one - two) / abs(one) for one, two in pairs if one is not None and two is not None)
