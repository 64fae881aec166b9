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

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from infra.store.digests import key_of
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import Part, fetch_part
from infra.store.tokens import TokenFile
from model.architecture import ModelConfig, model_config, plain_model_config
from model.configuration import from_plain, require, to_plain
from model.events import Course, Event
from model.hyperparameters import TrainingConfig
from model.order import DataOrder, MixtureSource, NeoxOrder, Order, RowOrder, split_documents
from model.origin import Origin
from model.supply import require_sequences, require_validation

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


def open_order(lake: Lake, config: RunConfig, cache: Path) -> Order:
    """The data order of a run over verified local copies of its token files, kept in the folder `cache`.

    Raises ValueError when the run would read more sequences than its sources allow.
    """
    training = config.training
    sources = _mixture(lake, config.sources, cache)
    order: Order
    if training.compat == "neox":
        part = _part(sources, training.split, 0)
        order = NeoxOrder(sources, training.sequence_length, config.seed, config.samples, cache, part)
    elif training.compat == "rows":
        order = RowOrder(sources, training.sequence_length, config.seed)
    else:
        order = DataOrder(sources, training.sequence_length, config.seed, training.packing)
    require_sequences(config.needed, order.sequences)
    return order


def open_validation(lake: Lake, config: RunConfig, cache: Path) -> Order | None:
    """The order of a run's validation sequences, None for a run that has none.

    Raises ValueError when there are fewer than the run asks for.
    """
    training, wanted = config.training, config.training.validation
    if wanted is None:
        return None
    order: Order
    if training.split is None:
        sources = _mixture(lake, config.validation_sources, cache)
        order = DataOrder(sources, training.sequence_length, config.seed, training.packing)
    else:
        # GPT-NeoX makes its maps for all evaluations of the run (`build_train_valid_test_data_iterators`), in as many
        # passes as they take.
        samples = (training.steps // wanted.every + 1) * wanted.sequences
        sources = [replace(source, epochs=sys.maxsize) for source in _mixture(lake, config.sources, cache)]
        part = _part(sources, training.split, 1)
        order = NeoxOrder(sources, training.sequence_length, config.seed, samples, cache, part)
    require_validation(wanted.sequences, order.sequences)
    return order


def _part(sources: Sequence[MixtureSource], split: Sequence[float] | None, number: int) -> range | None:
    """The documents of one share of a split of the only source; None where there is no split."""
    return None if split is None else split_documents(split, len(sources[0].file.sizes))[number]


def _mixture(lake: Lake, sources: tuple[Source, ...], cache: Path) -> list[MixtureSource]:
    return [
        MixtureSource(
            source.name,
            source.weight,
            source.epochs,
            source.digest,
            TokenFile(fetch_part(lake, source.bin, cache), fetch_part(lake, source.idx, cache)),
        )
        for source in sources
    ]


def _sources(values: Any, where: str) -> tuple[Source, ...]:
    return tuple(from_plain(Source, source, f"{where}[{number}]") for number, source in enumerate(values))


def _identity(source: Source) -> list[Any]:
    return [source.name, source.weight, source.epochs, source.digest]
