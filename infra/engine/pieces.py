"""Pieces of work: the unit that is executed, retried and marked. Plain data that travels to a worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from infra.models import NO_MODEL, ModelFiles
from infra.store.inputs import InputFile
from infra.store.lake import Lake
from infra.store.manifest import Part


@dataclass(frozen=True)
class Floor:
    """A fixed predicate on an annotation's column: documents outside it are not read by the stages behind it."""

    column: str
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] | None = None

    def identity(self) -> dict[str, Any]:
        """What enters the keys of the stages behind it."""
        one_of = None if self.one_of is None else list(self.one_of)
        return {"column": self.column, "at_least": self.at_least, "at_most": self.at_most, "one_of": one_of}


@dataclass(frozen=True)
class Shard:
    """One shard of documents with what was written beside it, each part by the name of its stage."""

    documents: Part
    edits: tuple[Part, ...] = ()
    annotations: tuple[tuple[str, Part], ...] = ()

    def identity(self) -> dict[str, Any]:
        """What of it enters a key: content digests."""
        return {
            "documents": self.documents.content,
            "edits": [part.content for part in self.edits],
            "annotations": {name: part.content for name, part in self.annotations},
        }


@dataclass(frozen=True)
class StageCall:
    """A stage as one piece calls it; `config` is the JSON of its config, `key` names the marker of the outcome."""

    reference: str
    config: str
    key: str
    models: ModelFiles = NO_MODEL


@dataclass(frozen=True)
class SourcePiece:
    """Read one input file into shards of documents."""

    lake: Lake
    call: StageCall
    file: InputFile


@dataclass(frozen=True)
class PassPiece:
    """Read one shard once and let several stages annotate it, each into a part of its own.

    `reads` gives, for each call, the names of the annotations that it sees.
    """

    lake: Lake
    calls: tuple[StageCall, ...]
    shard: Shard
    floors: tuple[Floor, ...]


@dataclass(frozen=True)
class MapPiece:
    """Cut what a stage needs of one shard into partitions: one part for each."""

    lake: Lake
    call: StageCall
    shard: Shard


@dataclass(frozen=True)
class ReducePiece:
    """Bring one partition of all shards together. `inputs` are (shard, part) in the order of shards."""

    lake: Lake
    call: StageCall
    step: str
    inputs: tuple[tuple[int, Part], ...]


@dataclass(frozen=True)
class GatherPiece:
    """Look at the rows of one shard with the documents of others beside it."""

    lake: Lake
    call: StageCall
    shard: int
    rows: tuple[Part, ...]
    shards: tuple[tuple[int, Shard], ...]


@dataclass(frozen=True)
class ScatterPiece:
    """Bring reduced rows back to the documents of one shard."""

    lake: Lake
    call: StageCall
    shard: int
    rows: tuple[Part, ...]
    documents: Shard


@dataclass(frozen=True)
class FitPiece:
    """Make files from all shards."""

    lake: Lake
    call: StageCall
    shards: tuple[Shard, ...] = field(default=())


Piece = SourcePiece | PassPiece | MapPiece | ReducePiece | GatherPiece | ScatterPiece | FitPiece


def describe(piece: Piece) -> str:
    """The piece in a few words, for logs and errors."""
    calls = piece.calls if isinstance(piece, PassPiece) else (piece.call,)
    names = "+".join(call.reference.partition(":")[2] for call in calls)
    match piece:
        case SourcePiece():
            return f"{names} of {piece.file.uri}"
        case PassPiece():
            return f"{names} of {piece.shard.documents.name}"
        case MapPiece():
            return f"{names}, map of {piece.shard.documents.name}"
        case ReducePiece():
            return f"{names}, {piece.step}"
        case GatherPiece():
            return f"{names}, gather of shard {piece.shard}"
        case ScatterPiece():
            return f"{names}, scatter of {piece.documents.documents.name}"
        case FitPiece():
            return f"{names} of {len(piece.shards)} shards"
