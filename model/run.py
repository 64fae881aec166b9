"""A training run: what decides its result, its key, and where it lies in the lake.

    runs/<key>/run.json                              this configuration
    runs/<key>/checkpoints/step-000123/              files of the ranks, then manifest.json
    runs/<key>/losses/step-000123.jsonl, tail.jsonl  a line for every step
    runs/<key>/logbook/                              one object for every event
    runs/<key>/progress.json                         how far the latest launch is

How a run is executed (engine, ranks, micro-batch) is no part of it and stands in the logbook.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.store.digests import key_of
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import Part, fetch_part
from infra.store.tokens import TokenFile
from model.architecture import ModelConfig, model_config, plain_model_config
from model.configuration import from_plain, to_plain
from model.engine import AdamWConfig
from model.layers import require
from model.order import DataOrder, MixtureSource
from model.schedule import CheckpointSchedule, CosineSchedule

FORMAT = 1


@dataclass(frozen=True)
class TrainingConfig:
    """Hyper-parameters. `batch` counts sequences per step over all ranks; `threads` per rank changes sums."""

    sequence_length: int
    batch: int
    steps: int
    schedule: CosineSchedule
    optimizer: AdamWConfig
    checkpoints: CheckpointSchedule
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("sequence_length", "batch", "steps", "threads"):
            require(getattr(self, name) >= 1, f"training: {name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True)
class Source:
    """A token file in the lake: its share of the mixture in tokens, and how often it may be read."""

    name: str
    weight: float
    epochs: int
    bin: Part
    idx: Part

    @property
    def digest(self) -> str:
        """What identifies the tokens."""
        return key_of([self.bin.sha256, self.idx.sha256])


@dataclass(frozen=True)
class RunConfig:
    """All that decides a run's result; `label` tells apart runs that are otherwise the same."""

    model: ModelConfig
    training: TrainingConfig
    sources: tuple[Source, ...]
    seed: int
    label: str = ""

    def __post_init__(self) -> None:
        require(len(self.sources) > 0, "sources: a run needs at least one token file")
        require(
            self.training.sequence_length <= self.model.positions,
            f"training.sequence_length is {self.training.sequence_length}; "
            f"the model has {self.model.positions} positions",
        )

    @property
    def key(self) -> str:
        """The run's identity: model, hyper-parameters, tokens by content, seed and label."""
        sources = [[source.name, source.weight, source.epochs, source.digest] for source in self.sources]
        return key_of({**self.to_plain(), "sources": sources})

    def to_plain(self) -> dict[str, Any]:
        """As stored in run.json."""
        return {
            "format": FORMAT,
            "model": plain_model_config(self.model),
            "training": to_plain(self.training),
            "sources": [to_plain(source) for source in self.sources],
            "seed": self.seed,
            "label": self.label,
        }


def run_config(values: dict[str, Any]) -> RunConfig:
    """The configuration in a mapping such as `RunConfig.to_plain` gives. Raises ValueError naming the field."""
    known = {"format", "model", "training", "sources", "seed", "label"}
    if unknown := set(values) - known:
        raise ValueError(f"run: there is no field {sorted(unknown)[0]!r}; the fields are {', '.join(sorted(known))}")
    if values.get("format", FORMAT) != FORMAT:
        raise ValueError(f"run: format {values['format']} is not {FORMAT}; use the version that wrote it")
    if missing := {"model", "training", "sources", "seed"} - set(values):
        raise ValueError(f"run: the field {sorted(missing)[0]!r} is missing")
    return RunConfig(
        model=model_config(values["model"]),
        training=from_plain(TrainingConfig, values["training"], "training"),
        sources=tuple(
            from_plain(Source, source, f"sources[{number}]") for number, source in enumerate(values["sources"])
        ),
        seed=values["seed"],
        label=values.get("label", ""),
    )


def create_run(lake: Lake, config: RunConfig) -> str:
    """Write run.json and return the run's key. Creating the same run again changes nothing."""
    path = f"runs/{config.key}/run.json"
    if lake.size(path) is None:
        lake.write_json(path, config.to_plain())
    return config.key


def read_run(lake: Lake, key: str) -> RunConfig:
    """The configuration of a run. Raises NotThere, or Corrupt when it is not the one that the key names."""
    config = run_config(lake.read_json(f"runs/{key}/run.json"))
    if config.key != key:
        raise Corrupt(f"{lake.uri}/runs/{key}/run.json describes the run {config.key}; create the run again")
    return config


def open_order(lake: Lake, config: RunConfig, cache: Path) -> DataOrder:
    """The data order of a run over verified local copies of its token files, kept in the folder `cache`.

    Raises ValueError when the run would read more sequences than its sources allow.
    """
    sources = [
        MixtureSource(
            source.name,
            source.weight,
            source.epochs,
            source.digest,
            TokenFile(fetch_part(lake, source.bin, cache), fetch_part(lake, source.idx, cache)),
        )
        for source in config.sources
    ]
    order = DataOrder(sources, config.training.sequence_length, config.seed)
    needed = config.training.steps * config.training.batch
    if needed > order.sequences:
        raise ValueError(
            f"the run reads {needed} sequences and its sources give {order.sequences}: lower steps or batch, add "
            "tokens, or allow more epochs"
        )
    return order
