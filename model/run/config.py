"""A training run: the configuration that determines its result, its key, and its paths in the lake.

    runs/<key>/run.json                              this configuration
    runs/<key>/checkpoints/step-000123/              files of the ranks, then manifest.json
    runs/<key>/losses/step-000123.jsonl, tail.jsonl  one line per step
    runs/<key>/logbook/                              one object per log event
    runs/<key>/progress.json                         progress of the latest launch
    runs/<key>/launch.json                           id of the latest launch; an older launch that reads it ends
    runs/<key>/events/, control/                     events that changed the run, and requests to it
    runs/<key>/metrics/, tensorboard/, account/      speed, energy and cost

Execution settings (`model.layout`, retention) are not part of the configuration; the logbook records them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from infra.store.digests import key_of
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import Part
from infra.store.schema import read_value
from infra.store.token_files import pair_digest
from model.architectures.architecture import ModelConfig
from model.architectures.registry import model_config, plain_model_config
from model.configuration import from_plain, require, to_plain
from model.run.events import Course, Event
from model.run.hyperparameters import TrainingConfig
from model.run.origin import Origin

FORMAT = 3


@dataclass(frozen=True)
class TokenPair:
    """A token file in the lake."""

    bin: Part
    idx: Part


@dataclass(frozen=True)
class Source:
    """The token files of a source in the lake, in order.

    `weight` is its share of the mixture in tokens, `epochs` the maximum of passes. `digest` is that of one file with
    all of its tokens (`infra.store.token_files`), so a run does not depend on how they are cut into files.
    """

    name: str
    weight: float
    epochs: int
    files: tuple[TokenPair, ...]
    digest: str

    def __post_init__(self) -> None:
        require(len(self.files) > 0, f"source {self.name}: files is empty; give at least one token file")
        require(
            len(self.files) > 1 or self.digest == _digest_of(self.files[0]),
            f"source {self.name}: its digest is not that of its file",
        )

    def to_plain(self) -> dict[str, Any]:
        """As stored in run.json: a single file as its `bin` and `idx`."""
        plain: dict[str, Any] = to_plain(self)
        if len(self.files) > 1:
            return plain
        return {name: plain[name] for name in ("name", "weight", "epochs")} | plain["files"][0]


def _digest_of(file: TokenPair) -> str:
    return pair_digest(file.bin.sha256, file.idx.sha256)


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run's result. `label` distinguishes runs that are otherwise equal.

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
            f"the model has {self.model.positions} positions, choose at most that",
        )
        require(
            self.training.validation is None or self.training.split is not None or len(self.validation_sources) > 0,
            "training.validation needs validation tokens: build the corpus with `tokens.validation` above 0",
        )
        require(
            self.training.split is None or len(self.sources) == 1,
            f"training.split needs exactly one source, and the run has {len(self.sources)}; omit split",
        )
        require(
            not self.training.reset_boundaries or self.end_of_document is not None,
            "training.reset_boundaries needs end_of_document; set it to the token that ends a document",
        )
        require(
            self.training.compat != "neox" or self.seed < 2**32,
            f"seed is {self.seed}; with training.compat neox it must be below {2**32}, the limit of numpy",
        )
        require(
            self.first_step < self.training.steps,
            f"training.steps is {self.training.steps}; it must be above {self.first_step}, the step of the checkpoint "
            "that the run continues",
        )

    @property
    def first_step(self) -> int:
        """The number of steps taken before this run."""
        return 0 if self.origin is None else self.origin.step

    @property
    def first_sequence(self) -> int:
        """The first sequence of its first step."""
        return 0 if self.origin is None else self.origin.next_sequence

    @property
    def needed(self) -> int:
        """The end of the range of sequences that it reads. Events that skip data move it further."""
        return self.course().next_sequence(self.training.steps)

    @property
    def samples(self) -> int:
        """The number of samples for which GPT-NeoX's order is built; that order depends on the length of the run."""
        inherited = None if self.origin is None else self.origin.samples
        return self.needed if inherited is None else inherited

    @property
    def files(self) -> list[Part]:
        """The token files that it trains on."""
        return [part for source in self.sources for file in source.files for part in (file.bin, file.idx)]

    def course(self, events: Sequence[Event] = ()) -> Course:
        """The run's course with these events."""
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
            "sources": [source.to_plain() for source in self.sources],
            "seed": self.seed,
            "label": self.label,
            "validation_sources": [source.to_plain() for source in self.validation_sources],
            "end_of_document": self.end_of_document,
            "origin": None if self.origin is None else self.origin.to_plain(),
        }


def run_config(values: dict[str, Any]) -> RunConfig:
    """Parse a mapping such as `RunConfig.to_plain` returns. Raises ValueError naming the field."""
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
    """The configuration of a run. Raises NotThere, or Corrupt when it is invalid or belongs to another key."""
    path = f"runs/{key}/run.json"
    try:
        config = run_config(read_value(dict[str, Any], lake.read_json(path), f"{lake.uri}/{path}"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"{lake.uri}/{path} is not the configuration of a run ({error}); create the run again") from error
    if config.key != key:
        raise Corrupt(f"{lake.uri}/{path} describes another run, {config.key}; create the run again")
    return config


def _sources(values: Any, where: str) -> tuple[Source, ...]:
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{where} is {values!r}; it must be a list")
    return tuple(_source(source, f"{where}[{number}]") for number, source in enumerate(values))


def _source(values: Any, where: str) -> Source:
    if isinstance(values, Mapping) and "files" not in values:
        # A single file.
        rest = {name: value for name, value in values.items() if name not in ("bin", "idx")}
        pair = from_plain(TokenPair, {name: values[name] for name in ("bin", "idx") if name in values}, where)
        values = rest | {"files": [to_plain(pair)], "digest": _digest_of(pair)}
    return from_plain(Source, values, where)


def _identity(source: Source) -> list[Any]:
    return [source.name, source.weight, source.epochs, source.digest]
