"""Work units: what an engine runs, retries and marks as done. Plain data that is sent to a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.budget import RECORD_BUDGET, Budget
from infra.engine.sampling import Sample
from infra.models import NO_MODEL, ModelFiles
from infra.store.inputs import InputFile
from infra.store.lake import Lake
from infra.store.manifest import Part


@dataclass(frozen=True)
class Floor:
    """A fixed predicate on a column of an annotation. Downstream stages skip documents that do not satisfy it.

    `column` is ``annotation.column``, with the annotation's name in the view.
    """

    column: str
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] | None = None

    @property
    def annotation(self) -> str:
        """The name of the annotation that it reads."""
        return self.column.partition(".")[0]

    def identity(self) -> dict[str, Any]:
        """The values that enter the keys of downstream stages."""
        one_of = None if self.one_of is None else list(self.one_of)
        return {"column": self.column, "at_least": self.at_least, "at_most": self.at_most, "one_of": one_of}


@dataclass(frozen=True)
class Shard:
    """One shard of documents, with the edits and annotations that a step sees."""

    documents: Part
    edits: tuple[Part, ...] = ()
    annotations: tuple[tuple[str, Part], ...] = ()

    def identity(self) -> dict[str, Any]:
        """The content digests that enter a key."""
        return {
            "documents": self.documents.content,
            "edits": [part.content for part in self.edits],
            "annotations": {name: part.content for name, part in self.annotations},
        }


def shard_identity(shard: Shard, floors: tuple[Floor, ...]) -> dict[str, Any]:
    """The identity of the documents of a shard that satisfy the floors."""
    return {**shard.identity(), **({"floors": [floor.identity() for floor in floors]} if floors else {})}


@dataclass(frozen=True)
class Call:
    """A stage call of one unit. `config` is the JSON of the stage's config; `key` names the marker of the result."""

    reference: str
    config: str
    key: str
    models: ModelFiles = NO_MODEL

    @property
    def name(self) -> str:
        """The kernel's name, for logs."""
        return self.reference.partition(":")[2]


@dataclass(frozen=True)
class SourceUnit:
    """Read one input file into shards of documents, each record within `budget`.

    `careful`: see `infra.engine.watch`. With a `sample`, the other records are found and not read.
    """

    lake: Lake
    call: Call
    file: InputFile
    budget: Budget = RECORD_BUDGET
    careful: bool = False
    sample: Sample | None = None

    def __str__(self) -> str:
        return f"{self.call.name} of {self.file.uri}"


@dataclass(frozen=True)
class PassUnit:
    """Read one shard once for several annotating stages, each of which writes its own part.

    `budget` is for a batch of documents, or for a document where the unit is `careful`: see `infra.engine.watch`.
    """

    lake: Lake
    calls: tuple[Call, ...]
    shard: Shard
    floors: tuple[Floor, ...]
    budget: Budget = RECORD_BUDGET
    careful: bool = False

    def __str__(self) -> str:
        return f"{'+'.join(call.name for call in self.calls)} of {self.shard.documents.name}"


@dataclass(frozen=True)
class SelectUnit:
    """Write the documents of one shard that a select stage keeps."""

    lake: Lake
    call: Call
    shard: Shard

    def __str__(self) -> str:
        return f"{self.call.name} of {self.shard.documents.name}"


@dataclass(frozen=True)
class MapUnit:
    """Map the documents of one shard that satisfy the floors into rows for `partitions`.

    With `first`, only so many documents at the beginning of the shard are read. `digests`: whether the marker has the
    digests of its slices, of which there is one for each partition. Rows that are merged before use need none.
    """

    lake: Lake
    call: Call
    shard: Shard
    floors: tuple[Floor, ...]
    partitions: int
    first: int | None = None
    digests: bool = True

    def __str__(self) -> str:
        return f"{self.call.name}, map of {self.shard.documents.name}"


@dataclass(frozen=True)
class ReduceUnit:
    """Reduce one partition. `inputs` are (number of the unit that gave the rows, part) pairs, in order.

    The rows are for `partitions` of the next step, or for shards where that is None. `digests`: see `MapUnit`. Merged
    rows tell themselves which units gave them.
    """

    lake: Lake
    call: Call
    step: str
    partition: int
    inputs: tuple[tuple[int, Part], ...]
    partitions: int | None
    digests: bool

    def __str__(self) -> str:
        return f"{self.call.name}, {self.step} of partition {self.partition}"


@dataclass(frozen=True)
class MergeUnit:
    """Merge the rows of several units. `inputs` and `digests`: see `ReduceUnit`."""

    lake: Lake
    call: Call
    step: str
    inputs: tuple[tuple[int, Part], ...]
    digests: bool

    def __str__(self) -> str:
        return f"{self.call.name}, merge of {len(self.inputs)} after {self.step}"


@dataclass(frozen=True)
class AnnotateUnit:
    """Join reduced rows to the documents of one shard."""

    lake: Lake
    call: Call
    shard: int
    rows: tuple[Part, ...]
    documents: Shard

    def __str__(self) -> str:
        return f"{self.call.name}, annotate of {self.documents.documents.name}"


@dataclass(frozen=True)
class FitUnit:
    """Make files from the documents of all shards that satisfy the floors of their shard."""

    lake: Lake
    call: Call
    shards: tuple[tuple[Shard, tuple[Floor, ...]], ...]

    def __str__(self) -> str:
        return f"{self.call.name} of {len(self.shards)} shards"


@dataclass(frozen=True)
class FitGroupUnit:
    """Make files from the rows of one partition. `rows` are the parts that have some, in order."""

    lake: Lake
    call: Call
    partition: int
    rows: tuple[Part, ...]

    def __str__(self) -> str:
        return f"{self.call.name}, partition {self.partition}"


@dataclass(frozen=True)
class FitJoinUnit:
    """Make files from what the fits of all partitions say of themselves."""

    lake: Lake
    call: Call
    partial: tuple[Part, ...]

    def __str__(self) -> str:
        return f"{self.call.name}, join of {len(self.partial)} partitions"


@dataclass(frozen=True)
class GroupUnit:
    """Make files from the documents of a group of shards. `place` is what `of_group` of the stage says of the group."""

    lake: Lake
    call: Call
    shards: tuple[tuple[Shard, tuple[Floor, ...]], ...]
    place: int

    def __str__(self) -> str:
        return f"{self.call.name} of {self.shards[0][0].documents.name} and {len(self.shards) - 1} more shards"


@dataclass(frozen=True)
class FinishUnit:
    """Make files from the files of all groups. `groups` are (source, name, documents, parts), in order."""

    lake: Lake
    call: Call
    groups: tuple[tuple[str, str, int, tuple[Part, ...]], ...]

    def __str__(self) -> str:
        return f"{self.call.name}, finish of {len(self.groups)} groups"


WorkUnit = (
    SourceUnit
    | PassUnit
    | SelectUnit
    | MapUnit
    | ReduceUnit
    | MergeUnit
    | AnnotateUnit
    | FitUnit
    | FitGroupUnit
    | FitJoinUnit
    | GroupUnit
    | FinishUnit
)
