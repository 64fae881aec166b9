"""Declares a stage: a named, versioned, pure function with everything that determines its result."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pydantic

ModelLoader = Callable[[Any, Mapping[str, Path]], Any]
Columns = Sequence[str] | Callable[[Any], Sequence[str]]
KERNEL = "kernel"  # the step name of a stage with a single step
# Of a fit stage with groups. Two groups meet in one partition rarely, and then are fitted one after the other.
FIT_PARTITIONS = 256
PARTIAL = ".partial.json"  # how the names of files end that a group hands to the step ``join``


class MissingLibrary(RuntimeError):
    """A package that a stage needs with its config is not installed."""


class StageKind(StrEnum):
    """How the engine runs a stage.

    - source: input files to documents;
    - annotate: a batch of documents to columns about them;
    - partitioned: map, shuffle and reduce over all shards to columns about the documents;
    - select: a shard of documents to the documents that are kept;
    - fit: all documents to files, such as a model;
    - grouped: each group of neighbouring shards of a source to files, and then the files of all groups to more files.
    """

    source = "source"
    annotate = "annotate"
    partitioned = "partitioned"
    select = "select"
    fit = "fit"
    grouped = "grouped"


class StageConfig(pydantic.BaseModel):
    """The options that determine the result of a stage. Every field enters its key, so omit execution settings.

    Recipes may still have fields of older versions: `retired` ones decide nothing now, and `renamed` ones have the name
    that they are mapped to.
    """

    retired: ClassVar[tuple[str, ...]] = ()
    renamed: ClassVar[Mapping[str, str]] = {}
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def edits_text(self) -> bool:
        """Whether the column ``edits`` of the stage, if it has one, may hold edits with this config."""
        return True

    def more_libraries(self) -> Sequence[str]:
        """Libraries that affect the result with this config only, beside those of the stage."""
        return ()

    def refuse_origins(self, names: Sequence[str]) -> None:
        """Raises ValueError when a model cannot be fitted on the sources and references of these names."""


@dataclass(frozen=True)
class Stage:
    """A declared stage. Calling it calls its kernel, so tests need no engine.

    - `columns`: per step, the columns that it reads. ``text`` is a document column; ``language.label`` is the column
      ``label`` of another step's annotation, to which the kernel refers as ``language``;
    - `schema`: the columns that it writes. A column ``edits`` changes the text that later steps see; a column
      ``cluster`` groups duplicates, of which the corpus keeps one;
    - `load`: makes a model object from model files, once per worker. `bundled` maps names of model files to the
      installed packages that contain them. `default_model` is used when a recipe names no model. `try_model`
      loads the files of a model and uses them once. It runs in a child process, as wrong files can crash libraries. It
      raises ValueError for files that the stage cannot use;
    - `first`: see `stage`;
    - `implied`: for each step that this stage reads and that a recipe may omit, a function from this stage's config
      to the config of that step;
    - `steps`, `order`, `repeated`, `documents_per_partition`: see `partitioned`;
    - `describe`: explains the columns of one document in words, for `millrace explain`.
    """

    name: str
    version: int
    kind: StageKind
    config: type[StageConfig]
    kernel: Callable[..., Any]
    reference: str
    columns: Mapping[str, Columns]
    libraries: tuple[str, ...] = ()
    load: ModelLoader | None = None
    schema: pa.Schema | None = None
    steps: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    order: Callable[[Any], Sequence[str]] = lambda config: ()
    repeated: frozenset[str] = frozenset()
    documents_per_partition: int = 1 << 18
    first: Callable[[Any], int] | None = None
    bundled: Mapping[str, str] = field(default_factory=dict)
    default_model: str | None = None
    fitted_by: tuple[str, ...] = ()
    try_model: Callable[[Mapping[str, Path]], None] | None = None
    implied: Mapping[str, Callable[[Any], StageConfig]] = field(default_factory=dict)
    describe: Callable[[dict[str, Any]], list[str]] | None = None

    def __call__(self, *arguments: Any) -> Any:
        return self.kernel(*arguments)

    def columns_of(self, config: StageConfig, step: str = KERNEL) -> list[str]:
        """The columns that a step reads with a config."""
        columns = self.columns[step]
        return list(columns(config) if callable(columns) else columns)

    def reads(self, config: StageConfig) -> list[str]:
        """The names of the annotations that the stage reads, in order of first use."""
        columns = [name for step in self.columns for name in self.columns_of(config, step)]
        return list(dict.fromkeys(name.partition(".")[0] for name in columns if "." in name))

    def reads_text(self, config: StageConfig) -> bool:
        """Whether any step reads the text of documents."""
        return any("text" in self.columns_of(config, step) for step in self.columns)

    @property
    def gives_edits(self) -> bool:
        """Whether the stage can change the text that later steps see: a config decides it by `edits_text`."""
        return self.schema is not None and "edits" in self.schema.names

    @property
    def gives_clusters(self) -> bool:
        """Whether the stage groups duplicates."""
        return self.schema is not None and "cluster" in self.schema.names

    def identity(self, config: StageConfig, models: Mapping[str, str]) -> dict[str, Any]:
        """Everything except the inputs that determines the result. It enters every key of the stage.

        `models` maps file names of the stage's model to their digests.
        """
        return {
            "stage": self.name,
            "version": self.version,
            "config": config.model_dump(mode="json"),
            "libraries": self.library_versions(config),
            "models": dict(models),
        }

    def library_versions(self, config: StageConfig) -> dict[str, str]:
        """The installed versions of the libraries that affect the result. Raises MissingLibrary."""
        try:
            return {name: _installed_version(name) for name in (*self.libraries, *config.more_libraries())}
        except importlib.metadata.PackageNotFoundError as error:
            need = f"with this config, the stage {self.name} needs the package {error.name}"
            raise MissingLibrary(f"{need}: install it: pip install {error.name}") from error


def stage(
    name: str,
    *,
    version: int,
    kind: StageKind,
    config: type[StageConfig],
    columns: Columns = ("text",),
    libraries: Sequence[str] = (),
    load: ModelLoader | None = None,
    schema: pa.Schema | None = None,
    bundled: Mapping[str, str] | None = None,
    default_model: str | None = None,
    fitted_by: Sequence[str] = (),
    try_model: Callable[[Mapping[str, Path]], None] | None = None,
    describe: Callable[[dict[str, Any]], list[str]] | None = None,
    groups: Mapping[str, Callable[..., Any]] | None = None,
    first: Callable[[Any], int] | None = None,
) -> Callable[[Callable[..., Any]], Stage]:
    """Declare the decorated kernel as a stage with one step.

    A fit stage with `groups` is run in steps instead, in parallel, which give the same files as the kernel:

    - ``map(documents, config)`` takes the documents of a shard and returns rows with the int32 columns ``partition``,
      below `FIT_PARTITIONS`, and perhaps ``row``;
    - ``group(tables, config, folder)`` takes the rows of a partition, in order, and returns files by name. What ends in
      `PARTIAL` is no file of the artifact;
    - ``join(partial, config, folder)`` takes those of all partitions by name, and returns further files.

    With `first`, a function of the config, so many documents are read, the first of all sources; others are skipped.

    Raises ValueError when an annotating stage has no schema, or when a column ``failed`` is not a string.
    """
    if kind is StageKind.annotate and schema is None:
        raise ValueError(f"stage {name}: an annotating stage must declare the schema of its columns")
    if schema is not None and "failed" in schema.names and schema.field("failed").type != pa.string():
        raise ValueError(f"stage {name}: the column 'failed' must be a string (the reason) or null")

    def declare(kernel: Callable[..., Any]) -> Stage:
        return Stage(
            name=name,
            version=version,
            kind=kind,
            config=config,
            kernel=kernel,
            reference=f"{kernel.__module__}:{kernel.__name__}",
            columns={KERNEL: columns, **({"map": columns} if groups else {})},
            steps=dict(groups or {}),
            first=first,
            libraries=tuple(libraries),
            load=load,
            # Documents that a floor excludes have null values, even if the kernel declares its columns non-null.
            schema=None if schema is None else pa.schema([column.with_nullable(True) for column in schema]),
            bundled=dict(bundled or {}),
            default_model=default_model,
            fitted_by=tuple(fitted_by),
            try_model=try_model,
            describe=describe,
        )

    return declare


def partitioned(
    name: str,
    *,
    version: int,
    config: type[StageConfig],
    reference: str,
    columns: Mapping[str, Columns],
    map: Callable[..., pa.Table],
    reduce: Callable[..., pa.Table] | Mapping[str, Callable[..., pa.Table]],
    annotate: Callable[..., pa.Table] | None = None,
    schema: pa.Schema | None = None,
    order: Callable[[Any], Sequence[str]] | None = None,
    repeated: Sequence[str] = (),
    documents_per_partition: int = 1 << 18,
    libraries: Sequence[str] = (),
    implied: Mapping[str, Callable[[Any], StageConfig]] | None = None,
    describe: Callable[[dict[str, Any]], list[str]] | None = None,
) -> Stage:
    """Declare a stage over all shards, as steps that each read a bounded part of them.

    - ``map(documents, config)`` takes the documents of one shard, perhaps none. It returns rows with the columns
      ``row`` (int32) and ``partition`` (uint64), a hash: rows of one hash meet in one partition;
    - ``reduce(tables, config)`` takes ``(shard, rows)`` of one partition, in the order of shards. It returns rows with
      the column ``shard`` (int32), the target of each row. It may be several steps, by name, of which all but the last
      return rows with ``partition``; the number with the rows is then that of the partition that gave them;
    - ``annotate(documents, rows, config)`` takes one shard and its rows. It returns the annotation of the shard's
      documents, with `schema`. Without it, the artifact consists of what the last step gave for each partition.

    With an optional field ``files_per_group`` of the config, only shards of so many neighbouring input files of one
    source are compared. The first group of a source begins with its first file.
    `columns` lists the columns that ``map`` and ``annotate`` read. `order` names the steps between them, by config;
    by default all, in the order of `reduce`. A step in `repeated` runs until it gives what it gave before.
    `documents_per_partition` bounds the rows in the memory of a worker: no result may depend on it. `reference` is
    ``module:name`` of the result.
    """
    if (annotate is None) != (schema is None):
        raise ValueError(f"stage {name}: declare annotate with the schema of its columns, or neither")
    reduces = reduce if isinstance(reduce, Mapping) else {"reduce": reduce}
    last = {} if annotate is None else {"annotate": annotate}
    return Stage(
        name=name,
        version=version,
        kind=StageKind.partitioned,
        config=config,
        kernel=annotate or map,
        reference=reference,
        columns=dict(columns),
        libraries=tuple(libraries),
        schema=schema,
        steps={"map": map, **reduces, **last},
        order=order or (lambda config: tuple(reduces)),
        repeated=frozenset(repeated),
        documents_per_partition=documents_per_partition,
        implied=dict(implied or {}),
        describe=describe,
    )


def grouped(
    name: str,
    *,
    version: int,
    config: type[StageConfig],
    columns: Columns,
    finish: Callable[..., dict[str, Path]],
    of_group: Callable[[Any, str, int], tuple[StageConfig, int]],
    libraries: Sequence[str] = (),
    load: ModelLoader | None = None,
) -> Callable[[Callable[..., Any]], Stage]:
    """Declare the decorated kernel as a stage that makes files of each group of shards, and then of all groups.

    - ``kernel(documents, config, folder, place[, model])`` takes the documents of one group. It returns its files by
      the end of their names in the artifact, which begin with the source and the number of the group;
    - ``of_group(config, source, before)`` returns the config and the `place` that a group's files depend on, with
      `before` documents of its source in earlier groups. The less they tell, the fewer groups are made again;
    - ``finish(groups, config, folder[, model])`` takes all groups (`infra.engine.group_steps.Group`) and returns the
      files of the whole artifact by name.
    """
    declare = stage(name, version=version, kind=StageKind.grouped, config=config, columns=columns, load=load)

    def declare_steps(kernel: Callable[..., Any]) -> Stage:
        steps: dict[str, Callable[..., Any]] = {"finish": finish, "of_group": of_group}
        return replace(declare(kernel), libraries=tuple(libraries), steps=steps)

    return declare_steps


def find_stage(reference: str) -> Stage:
    """The stage at ``module:name``. Raises TypeError when that object is not a stage."""
    module, _, name = reference.partition(":")
    found = getattr(importlib.import_module(module), name)
    if not isinstance(found, Stage):
        raise TypeError(f"{reference} is not a stage but a {type(found).__name__}")
    return found


@functools.cache
def _installed_version(library: str) -> str:
    # Cached per process: a build computes keys for many thousands of units, and each metadata read takes 0.5 ms.
    return importlib.metadata.version(library)
