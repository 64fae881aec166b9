"""The presets as a page: `python -m model.presets.page > docs/presets.md`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from model.presets import preset, preset_names

SHAPE = ("preset", "parameters", "without embeddings", "vocabulary", "layers", "width", "heads")
TRAINING = ("preset", "batch", "steps", "tokens", "schedule", "peak", "minimum", "warm-up", "decay", "precision")
CLUSTER = (
    "preset",
    "GPU",
    "GPUs",
    "tensor × pipeline",
    "ZeRO",
    "micro-batch × accumulation",
    "recomputed",
    "GPU hours",
    "seed",
)


def page() -> str:
    """docs/presets.md: for each family its shapes, training, the authors' clusters, and every contradiction."""
    parts = [
        "# Presets",
        "Written by `python -m model.presets.page > docs/presets.md` from the files in `model/presets`; "
        "a test holds the two together.",
        "Counts without embeddings leave out the token and position tables and the output layer. A batch counts "
        "sequences. “–” stands for what no source states. Under *where sources differ* the value taken is in bold.",
    ]
    for family, presets in _families().items():
        names = sorted(presets, key=lambda name: presets[name]["parameters"])
        parts += [f"## {family}", _table(SHAPE, (_shape(name, presets[name]) for name in names))]
        parts.append(_table(TRAINING, (_training(name, presets[name]) for name in names)))
        if _published(presets):
            parts.append(_table(CLUSTER, (_cluster(name, presets[name]["published"]) for name in names)))
            parts += ["### Where sources differ", _contradictions(names, presets)]
    return "\n\n".join(parts) + "\n"


def _families() -> dict[str, dict[str, dict[str, Any]]]:
    """The presets of each family by name; families in alphabetical order, and our own last."""
    families: dict[str, dict[str, dict[str, Any]]] = {}
    for name in preset_names():
        values = preset(name)
        families.setdefault(values["family"], {})[name] = values
    return dict(sorted(families.items(), key=lambda entry: (not _published(entry[1]), entry[0])))


def _published(presets: Mapping[str, dict[str, Any]]) -> bool:
    return all(values["published"] is not None for values in presets.values())


def _table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [list(columns), *([_text(value) for value in row] for row in rows)]
    lines.insert(1, ["---", *["---:"] * (len(lines[0]) - 1)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shape(name: str, values: dict[str, Any]) -> list[Any]:
    model = values["model"]
    counts = [values["parameters"], values["non_embedding_parameters"]]
    return [name, *counts, *(model[field] for field in ("vocabulary", "layers", "width", "heads"))]


def _training(name: str, values: dict[str, Any]) -> list[Any]:
    training, schedule = values["training"], values["training"]["schedule"]
    tokens = training["steps"] * training["batch"] * training["sequence_length"]
    rates = [schedule[field] for field in ("kind", "learning_rate", "minimum", "warmup")]
    decay = f"{training['optimizer']['weight_decay']:g} on {training['optimizer']['decay']}"
    return [name, training["batch"], training["steps"], tokens, *rates, decay, training["precision"]]


def _cluster(name: str, published: dict[str, Any]) -> list[Any]:
    def pair(first: str, second: str) -> str:
        return f"{_text(published[first])} × {_text(published[second])}"

    shape = [pair("tensor", "pipeline"), published["zero"], pair("micro_batch", "accumulation")]
    rest = [published[field] for field in ("recompute", "gpu_hours", "seed")]
    return [name, published["gpu"], published["gpus"], *shape, *rest]


def _contradictions(names: list[str], presets: dict[str, dict[str, Any]]) -> str:
    """One entry with its sources below it; what several presets have in common stands once."""
    shared: dict[str, list[str]] = {}
    for name in names:
        for entry in presets[name]["contradictions"]:
            shared.setdefault(json.dumps(entry), []).append(name)
    entries = []
    for text, holders in shared.items():
        entry = json.loads(text)
        sizes = "all sizes" if len(holders) == len(names) > 1 else ", ".join(holders)
        sides = [f"  - {_value(value, entry['chosen'])}: {where}" for where, value in entry["values"].items()]
        entries.append("\n".join([f"- *{entry['field']}* ({sizes}). {entry['why']}", *sides]))
    return "\n".join(sorted(entries))


def _value(value: Any, chosen: Any) -> str:
    return f"**{_text(value)}**" if value == chosen else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    print(page(), end="")
