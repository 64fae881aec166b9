"""Cuts the documents of a source into parts by a column of a step, such as a bucket of perplexity."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc
import pydantic

from infra.documents import stored_metadata
from infra.stage import StageConfig
from infra.thresholds import inside
from tasks.sources.fields import PART


class Bin(StageConfig):
    """The part `name` has the documents within the thresholds. Without any, it has all that are in no bin before it."""

    name: str
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] | None = None


class Bins(StageConfig):
    """Bins of a column ``STEP.COLUMN``. A document is in the first that it fits; the last one has the rest."""

    column: str
    bins: tuple[Bin, ...] = pydantic.Field(min_length=1)


def with_parts(documents: pa.Table, bins: Bins) -> pa.Array:
    """The metadata of the documents, with the name of the part of each."""
    column = documents[bins.column].combine_chunks()
    parts = pa.nulls(documents.num_rows, pa.string())
    for one in bins.bins:
        fits = pc.fill_null(inside(column, one.at_least, one.at_most, one.one_of), False)
        if (one.at_least, one.at_most, one.one_of) == (None, None, None):
            fits = pa.array([True] * documents.num_rows, pa.bool_())
        parts = pc.if_else(pc.and_(pc.is_null(parts), fits), one.name, parts)
    metadata = [
        stored_metadata({**json.loads(own), PART: part})
        for own, part in zip(documents["metadata"].to_pylist(), parts.to_pylist(), strict=True)
    ]
    return pa.array(metadata, pa.string())
