"""Declaring a stage: a named, versioned, pure function and everything that decides its result."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydantic

ModelLoader = Callable[[Any, Mapping[str, Path]], Any]


class Shape(StrEnum):
    """How a stage's work is cut into pieces."""

    source = "source"
    annotate = "annotate"
    partitioned = "partitioned"
    fit = "fit"
    launch = "launch"


class StageConfig(pydantic.BaseModel):
    """What decides the result of a stage; every field enters its key. How it is run has no place here."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Stage:
    """A stage as declared. Calling it calls its kernel, so that kernels are tested without any of the rest.

    `view` names the edits that are applied to the text before the kernel sees it; `reads` names the stages whose
    columns it gets beside the documents; `load` turns the files of its model into an object, once per worker;
    `schema` is what an annotation holds; `columns` are the document columns that it needs; `aligned` says that the
    output has a row for each document, in order.
    """

    name: str
    version: int
    shape: Shape
    config: type[StageConfig]
    kernel: Callable[..., Any]
    reference: str
    view: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    load: ModelLoader | None = None
    schema: pa.Schema | None = None
    columns: tuple[str, ...] = ("id", "text")
    steps: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    aligned: bool = True

    def __call__(self, *arguments: Any) -> Any:
        return self.kernel(*arguments)

    def identity(self, config: StageConfig, models: Mapping[str, str]) -> dict[str, Any]:
        """Everything but the inputs that decides the result: it enters every key of the stage.

        `models` maps file names of the stage's model to their sha256.
        """
        return {
            "stage": self.name,
            "version": self.version,
            "config": config.model_dump(mode="json"),
            "view": list(self.view),
            "reads": list(self.reads),
            "libraries": self.library_versions(),
            "models": dict(models),
        }

    def library_versions(self) -> dict[str, str]:
        """The installed versions of the libraries that the stage's result depends on."""
        return {name: _installed_version(name) for name in self.libraries}


def stage(
    name: str,
    *,
    version: int,
    shape: Shape,
    config: type[StageConfig],
    view: list[str] | None = None,
    reads: list[str] | None = None,
    libraries: list[str] | None = None,
    load: ModelLoader | None = None,
    schema: pa.Schema | None = None,
    columns: list[str] | None = None,
) -> Callable[[Callable[..., Any]], Stage]:
    """Declare the decorated kernel as a stage.

    Raises ValueError when an annotating stage declares no schema, or a schema with a column ``failed`` that is
    not a string.
    """
    if shape is Shape.annotate and schema is None:
        raise ValueError(f"stage {name}: an annotating stage declares the schema of its columns")
    if schema is not None and "failed" in schema.names and schema.field("failed").type != pa.string():
        raise ValueError(f"stage {name}: the column 'failed' holds a reason as a string, or null")

    def declare(kernel: Callable[..., Any]) -> Stage:
        return Stage(
            name=name,
            version=version,
            shape=shape,
            config=config,
            kernel=kernel,
            reference=f"{kernel.__module__}:{kernel.__name__}",
            view=tuple(view or ()),
            reads=tuple(reads or ()),
            libraries=tuple(libraries or ()),
            load=load,
            # A document below a floor has no value, whatever the kernel promises for those that it sees.
            schema=None if schema is None else pa.schema([column.with_nullable(True) for column in schema]),
            columns=tuple(columns or ("id", "text")),
        )

    return declare


def partitioned(
    name: str,
    *,
    version: int,
    config: type[StageConfig],
    reference: str,
    schema: pa.Schema,
    map: Callable[..., pa.Table],
    reduce: Callable[..., pa.Table],
    scatter: Callable[..., pa.Table],
    gather: Callable[..., pa.Table] | None = None,
    settle: Callable[..., pa.Table] | None = None,
    view: list[str] | None = None,
    reads: list[str] | None = None,
    libraries: list[str] | None = None,
    columns: list[str] | None = None,
    aligned: bool = True,
) -> Stage:
    """Declare a stage over all shards at once, as steps that each see a bounded part of them.

    - ``map(documents, config)``, a shard at a time, gives rows with int32 columns ``partition`` and ``row``;
    - ``reduce(tables, config)``, a partition at a time, takes ``(shard, rows)`` in the order of shards and gives
      rows with the int32 column ``shard``: the shard that each row is for;
    - ``gather(rows, documents, config)``, optional, takes the reduced rows of one shard and a function from a
      shard's number to its documents, and gives the rows that the next step sees;
    - ``settle(tables, config)``, optional, takes the gathered rows of all shards and gives rows with ``shard``;
    - ``scatter(documents, rows, config)``, a shard at a time, takes the rows for that shard and gives the
      annotation of its documents, of `schema`. Of a stage that is not `aligned`, it gives ``(table, Account)``:
      any number of rows, and the account of what became of the documents.

    `config` must have an integer field ``partitions``; `reference` is ``module:name`` of the result.
    """
    steps = {"map": map, "reduce": reduce, "scatter": scatter}
    if (gather is None) != (settle is None):
        raise ValueError(f"stage {name}: gather and settle come together")
    if gather is not None and settle is not None:
        steps |= {"gather": gather, "settle": settle}
    return Stage(
        name=name,
        version=version,
        shape=Shape.partitioned,
        config=config,
        kernel=scatter,
        reference=reference,
        view=tuple(view or ()),
        reads=tuple(reads or ()),
        libraries=tuple(libraries or ()),
        schema=schema,
        columns=tuple(columns or ("id", "text")),
        steps=steps,
        aligned=aligned,
    )


def find_stage(reference: str) -> Stage:
    """The stage at ``module:name``. Raises TypeError when something else lies there."""
    module, _, name = reference.partition(":")
    found = getattr(importlib.import_module(module), name)
    if not isinstance(found, Stage):
        raise TypeError(f"{reference} is not a stage but a {type(found).__name__}")
    return found


@cache
def _installed_version(library: str) -> str:
    """The installed version of a library. A process reads it once: a key is asked for per piece, metadata is a file."""
    return importlib.metadata.version(library)
