"""The steps that group duplicates, as the corpus stage sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from infra.stage import StageConfig
from tasks.corpus.comparison import Comparison

Survivors = Literal["longest", "shortest", "earliest", "latest", "first", "source", "all"]
_TEXTS = {"words": pa.list_(pa.uint64()), "signature": pa.binary()}


class DuplicatesStep(StageConfig):
    """A step that groups duplicates into clusters, of which the documents that come first by `survivors` stay.

    `compare` says how members are compared; without it, all members of a cluster are duplicates of each other, and one
    stays. With ``all``, every member stays. A step of one `source` groups only its documents, one across sources those
    of all. What goes is dropped under `reason`.
    """

    step: str
    reason: str
    survivors: tuple[Survivors, ...]
    source: str | None = None
    compare: Comparison | None = None

    @property
    def evidence(self) -> dict[str, pa.DataType]:
        """The step's columns by which members are compared."""
        return {} if self.compare is None else _TEXTS

    @property
    def columns(self) -> list[str]:
        """The step's columns that the choice reads."""
        return ["cluster", *self.evidence]


def comparison_of(config: StageConfig) -> Comparison | None:
    """How a step with this config wants the members of its clusters compared: its ``comparison()``, if it has one."""
    found = getattr(config, "comparison", None)
    return None if found is None else found()


def reason_of(config: StageConfig) -> str:
    """Under which reason a step with this config drops documents: its ``reason``, or ``duplicate``."""
    return str(getattr(config, "reason", "duplicate"))


def joins_clusters(steps: Sequence[DuplicatesStep]) -> bool:
    """Whether a document can be in clusters of several steps."""
    return len({step.step for step in steps}) > 1


def clusters_of(documents: pa.Table, step: DuplicatesStep) -> pa.Array:
    """The cluster of each document by a step; null for documents that do not go through it."""
    name = f"{step.step}.cluster"
    if name not in documents.column_names:
        return pa.nulls(documents.num_rows, pa.string())
    found = documents[name].combine_chunks()
    if step.source is None:
        return found
    return pc.if_else(pc.equal(documents["source"].combine_chunks(), step.source), found, None)
