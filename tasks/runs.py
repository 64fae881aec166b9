"""Finding training runs in a lake, and what their run.json says, without loading the model's code."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from infra.store.errors import StoreError
from infra.store.lake import Lake
from infra.store.manifest import Part
from infra.store.schema import Component, Count, Digest, read_object
from infra.store.token_files import pair_digest


@dataclass(frozen=True, slots=True)
class RunFile:
    """A token file of a run."""

    bin: Part
    idx: Part


@dataclass(frozen=True, slots=True)
class RunSource:
    """The tokens of a source: one file as `bin` and `idx`, or several `files` with the `digest` of all.

    Raises ValueError if it has neither.
    """

    name: str
    weight: float
    epochs: Count
    bin: Part | None = None
    idx: Part | None = None
    files: tuple[RunFile, ...] = ()
    digest: Digest | None = None

    def __post_init__(self) -> None:
        if self.bin is not None and self.idx is not None:
            object.__setattr__(self, "files", (RunFile(self.bin, self.idx),))
            object.__setattr__(self, "digest", pair_digest(self.bin.sha256, self.idx.sha256))
        elif not self.files or self.digest is None:
            raise ValueError(f"the source {self.name} has no token files")


@dataclass(frozen=True, slots=True)
class RunInherited:
    """The changes made in another run that still apply. The sequences of each (first, stop) are skipped."""

    learning_rate: float | None = None
    factor: float = 1.0
    clip: float | None = None
    left_out: tuple[tuple[Count, Count], ...] = ()


@dataclass(frozen=True, slots=True)
class RunOrigin:
    """The checkpoint from which a run continues."""

    run: Component
    step: Count
    digest: Digest
    next_sequence: Count
    samples: Count | None = None
    inherited: RunInherited | None = None

    def to_plain(self) -> dict[str, Any]:
        """As stored in run.json, without fields that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run.json. `model.run.config` checks what `model` and `training` contain."""

    format: Count
    model: dict[str, Any]
    training: dict[str, Any]
    sources: tuple[RunSource, ...]
    seed: int
    label: str = ""
    validation_sources: tuple[RunSource, ...] = field(default_factory=tuple)
    end_of_document: Count | None = None
    origin: RunOrigin | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model.get("architecture"), str):
            raise ValueError("model.architecture is missing")
        if not isinstance(self.training.get("steps"), int):
            raise ValueError("training.steps is missing")

    @property
    def architecture(self) -> str:
        """The name of the model's architecture."""
        return str(self.model["architecture"])

    @property
    def steps(self) -> int:
        """The steps of the whole run."""
        return int(self.training["steps"])

    @property
    def files(self) -> list[Part]:
        """The token files that it trains on."""
        return [part for source in self.sources for file in source.files for part in (file.bin, file.idx)]


def read_run_record(lake: Lake, run: str) -> RunRecord:
    """The run.json of a run. Raises NotThere, and Corrupt when it is damaged."""
    return read_object(lake, f"runs/{run}/run.json", RunRecord, "Create the run again, or delete its folder")


def run_keys(lake: Lake) -> list[str]:
    """The keys of all runs."""
    paths = (entry.path.split("/") for entry in lake.list("runs"))
    return sorted({path[1] for path in paths if len(path) == 3 and path[2] == "run.json"})


def find_run(lake: Lake, key: str) -> str:
    """The run whose key starts with `key`. Raises StoreError when there is none, or several."""
    found = [known for known in run_keys(lake) if known.startswith(key)]
    if not found and Path(key).is_dir():
        raise StoreError(
            f"{key} is a folder, not a run: a folder of weights, as `millrace import weights` writes it, has no "
            "optimizer state and no corpus. Use it with `millrace generate` and `millrace export`. This command needs "
            "a run of the lake; `millrace runs` lists them"
        )
    if len(found) != 1:
        raise StoreError(f"{len(found)} runs of {lake.uri} have keys that start with {key}; `millrace runs` lists them")
    return found[0]
