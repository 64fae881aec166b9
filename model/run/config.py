"""A training run: what decides its result, its key, and where it lies in the lake.

    runs/<key>/run.json                              this configuration
    runs/<key>/checkpoints/step-000123/              files of the ranks, then manifest.json
    runs/<key>/losses/step-000123.jsonl, tail.jsonl  a line for every step
    runs/<key>/logbook/                              one object for every event
    runs/<key>/progress.json                         how far the latest launch is
    runs/<key>/launch.json                           which launch that is: an older one ends when it sees it
    runs/<key>/events/, control/                     what changed its course, and what people ask of it
    runs/<key>/metrics/, tensorboard/, account/      speed, energy and cost

How a run is executed (`model.layout`, retention) is no part of it and stands in the logbook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from infra.store.digests import key_of
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import Part
from model.architectures.architecture import ModelConfig
from model.architectures.registry import model_config, plain_model_config
from model.configuration import from_plain, require, to_plain
from model.run.events import Course, Event
from model.run.hyperparameters import TrainingConfig
from model.run.origin import Origin

FORMAT = 3


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
    """All that decides a run's result; `label` tells apart runs that are otherwise the same.

    `end_of_document` is the token that ends a document, for `training.reset_boundaries`.
    """

    model: ModelConfig
    training: TrainingConfig
    sources: tuple[Source, ...]
    seed: int
    label: str = ""
    validation_sources: tuple[Source, ...] = ()
    end_of_document: int | None = None
    origin: Origin | None = None

    def __post_init__(self) -> None:
        require(len(self.sources) > 0, "sources: a run needs at least one token file")
        require(
            self.training.sequence_length <= self.model.positions,
            f"training.sequence_length is {self.training.sequence_length}; "
            f"the model has {self.model.positions} positions",
        )
        require(
            self.training.validation is None or self.training.split is not None or len(self.validation_sources) > 0,
            "training.validation needs validation tokens: build the corpus with `tokens.validation` above 0",
        )
        require(
            self.training.split is None or len(self.sources) == 1,
            f"training.split is of the documents of one source, and the run has {len(self.sources)}; leave it out",
        )
        require(
            not self.training.reset_boundaries or self.end_of_document is not None,
            "training.reset_boundaries needs end_of_document, the token that ends a document",
        )
        require(
            self.training.compat != "neox" or self.seed < 2**32,
            f"seed is {self.seed}; with training.compat neox it is numpy's, which is below {2**32}",
        )
        require(
            self.first_step < self.training.steps,
            f"training.steps is {self.training.steps}; a run that begins after {self.first_step} steps of another must "
            "go on",
        )

    @property
    def first_step(self) -> int:
        """The steps that were taken before this run."""
        return 0 if self.origin is None else self.origin.step

    @property
    def first_sequence(self) -> int:
        """The sequence that its first step begins with."""
        return 0 if self.origin is None else self.origin.next_sequence

    @property
    def needed(self) -> int:
        """The sequences that it reads up to, unless more are left out than when it began."""
        return self.course().next_sequence(self.training.steps)

    @property
    def samples(self) -> int:
        """What GPT-NeoX's order is made for, which depends on the length of the run."""
        inherited = None if self.origin is None else self.origin.samples
        return self.needed if inherited is None else inherited

    def course(self, events: Sequence[Event] = ()) -> Course:
        """Its course when these are its events."""
        inherited = None if self.origin is None else self.origin.inherited
        return Course(self.training.batch, events, (self.first_step, self.first_sequence), inherited)

    @property
    def key(self) -> str:
        """The run's identity: model, hyper-parameters, tokens by content, seed and label."""
        return key_of(
            {
                **self.to_plain(),
                "sources": list(map(_identity, self.sources)),
                "validation_sources": list(map(_identity, self.validation_sources)),
            }
        )

    def to_plain(self) -> dict[str, Any]:
        """As stored in run.json."""
        return {
            "format": FORMAT,
            "model": plain_model_config(self.model),
            "training": to_plain(self.training),
            "sources": [to_plain(source) for source in self.sources],
            "seed": self.seed,
            "label": self.label,
            "validation_sources": [to_plain(source) for source in self.validation_sources],
            "end_of_document": self.end_of_document,
            "origin": None if self.origin is None else self.origin.to_plain(),
        }


def run_config(values: dict[str, Any]) -> RunConfig:
    """The configuration in a mapping such as `RunConfig.to_plain` gives. Raises ValueError naming the field."""
    known = {field.name for field in fields(RunConfig)}
    if unknown := set(values) - known - {"format"}:
        raise ValueError(f"run: there is no field {sorted(unknown)[0]!r}; the fields are {', '.join(sorted(known))}")
    if values.get("format", FORMAT) != FORMAT:
        raise ValueError(f"run: format {values['format']} is not {FORMAT}; use the version that wrote it")
    if missing := {"model", "training", "sources", "seed"} - set(values):
        raise ValueError(f"run: the field {sorted(missing)[0]!r} is missing")
    origin = values.get("origin")
    return RunConfig(
        model=model_config(values["model"]),
        training=from_plain(TrainingConfig, values["training"], "training"),
        sources=_sources(values["sources"], "sources"),
        seed=values["seed"],
        label=values.get("label", ""),
        validation_sources=_sources(values.get("validation_sources", []), "validation_sources"),
        end_of_document=values.get("end_of_document"),
        origin=None if origin is None else from_plain(Origin, origin, "origin"),
    )


def create_run(lake: Lake, config: RunConfig) -> str:
    """Write run.json and return the run's key. Creating the same run again changes nothing."""
    path = f"runs/{config.key}/run.json"
    if lake.size(path) is None:
        lake.write_json(path, config.to_plain())
    return config.key


def read_run(lake: Lake, key: str) -> RunConfig:
    """The configuration of a run. Raises NotThere, or Corrupt when it cannot be read or is not that of the key."""
    path = f"runs/{key}/run.json"
    try:
        config = run_config(lake.read_json(path))
    except ValueError as error:
        raise Corrupt(f"{lake.uri}/{path}: {error}") from error
    if config.key != key:
        raise Corrupt(f"{lake.uri}/{path} describes the run {config.key}; create the run again")
    return config


def _sources(values: Any, where: str) -> tuple[Source, ...]:
    return tuple(from_plain(Source, source, f"{where}[{number}]") for number, source in enumerate(values))


def _identity(source: Source) -> list[Any]:
    return [source.name, source.weight, source.epochs, source.digest]
