"""A small tokenizer and model for the tests of evaluation, and the arithmetic of scores done by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pyarrow as pa
import tokenizers
import torch
from torch import nn

from model.architectures.registry import build, model_config
from tasks.evaluation.definitions import LoadedTask, load_tasks
from tasks.tokenizer import TokenizerConfig, fit_tokenizer, load_tokenizer

VOCABULARY = 400
POSITIONS = 64
SHAPE = {
    "architecture": "pythia",
    "vocabulary": VOCABULARY,
    "positions": POSITIONS,
    "layers": 2,
    "width": 32,
    "heads": 4,
}


def topic_texts(first: int, last: int) -> list[str]:
    """Topics of Python's own help."""
    return [topics[name] for name in sorted(topics)[first:last]]


def fit_small_tokenizer(folder: Path) -> Path:
    """A byte-level BPE of 400 tokens."""
    table = pa.table({"text": topic_texts(0, 8)})
    [path] = fit_tokenizer(iter([table]), TokenizerConfig(vocabulary_size=VOCABULARY), folder).values()
    return Path(path)


def small_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """The same, loaded."""
    return load_tokenizer(fit_small_tokenizer(folder))


def small_model() -> nn.Module:
    """Random weights, large enough for every choice to have a likelihood of its own."""
    model = build(model_config(SHAPE), 8)
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval().requires_grad_(False)


def write_tasks(folder: Path, tasks: Sequence[tuple[dict[str, Any], list[dict[str, Any]]]]) -> Path:
    """A file of definitions, each with its items beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    definitions = []
    for definition, items in tasks:
        name = f"{definition['name']}.jsonl"
        (folder / name).write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), "utf-8")
        definitions.append({"items": name, **definition})
    (folder / "tasks.json").write_text(json.dumps({"tasks": definitions}))
    return folder / "tasks.json"


def one_task(folder: Path, definition: dict[str, Any], items: list[dict[str, Any]]) -> LoadedTask:
    """One task with these items."""
    [task] = load_tasks(write_tasks(folder, [(definition, items)]))
    return task


def by_hand(model: nn.Module, tokenizer: tokenizers.Tokenizer, context: str, continuation: str) -> tuple[float, bool]:
    """log P(continuation | context) in nats and whether it is greedy, from one plain forward pass over the two."""
    whole = tokenizer.encode(context + continuation, add_special_tokens=False).ids
    start = len(tokenizer.encode(context, add_special_tokens=False).ids)
    logits = model(torch.tensor([whole]))[0].double()
    log = logits.log_softmax(-1)
    pairs = [(log[place - 1], whole[place]) for place in range(start, len(whole))]
    return sum(row[token].item() for row, token in pairs), all(int(row.argmax()) == token for row, token in pairs)
