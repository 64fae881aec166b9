"""Documents as Arrow tables: their schema, and text with edits applied."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.outcomes import Document

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("date", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("licence", pa.string()),
        pa.field("metadata", pa.string()),
    ]
)
EDITS_TYPE = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("replacement", pa.string())]))

Documents: TypeAlias = pa.Table
Annotations: TypeAlias = pa.Table


def documents_table(documents: Iterable[Document]) -> Documents:
    """A table of documents with `DOCUMENT_SCHEMA`; all have ids. Metadata is stored as canonical JSON."""
    rows = [
        {
            "id": document.id,
            "text": document.text,
            "url": document.url,
            "date": document.date,
            "source": document.source,
            "licence": document.licence,
            "metadata": stored_metadata(document.metadata),
        }
        for document in documents
    ]
    return pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA)


def stored_metadata(metadata: Mapping[str, str | int | float | None]) -> str:
    """Metadata as a document stores them."""
    return json.dumps(metadata, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def text_bytes(text: pa.ChunkedArray) -> int:
    """The total UTF-8 bytes of a text column."""
    return int(pc.sum(pc.binary_length(text)).as_py() or 0)


def apply_edits(text: pa.ChunkedArray | pa.Array, edits: pa.ChunkedArray) -> tuple[pa.Array, int]:
    """The text with spans replaced, and the number of UTF-8 bytes that were struck.

    `edits` holds, per document, sorted and disjoint spans (start, end, replacement) of UTF-8 byte offsets into the
    stored text; null means no edits. Raises ValueError for spans that overlap, run backwards or exceed the text.
    Replaced bytes count as struck.
    """
    wide, spans = text.cast(pa.large_string()), edits.combine_chunks()
    texts = wide.combine_chunks() if isinstance(wide, pa.ChunkedArray) else wide
    counts = pc.fill_null(pc.list_value_length(spans), 0).to_numpy()
    if not counts.any():
        return texts.cast(pa.string()), 0
    row = np.repeat(np.arange(len(texts)), counts)
    columns = dict(zip(("start", "end", "replacement"), spans.flatten().flatten(), strict=True))
    start, end = columns["start"].to_numpy(), columns["end"].to_numpy()
    offsets = np.frombuffer(texts.buffers()[1], np.int64, len(texts) + 1, offset=8 * texts.offset)
    sizes = np.diff(offsets)[row]
    before = np.where(np.diff(row, prepend=-1) > 0, 0, np.roll(end, 1))
    for wrong in np.flatnonzero((start < before) | (end < start) | (end > sizes))[:1]:
        place = f"{start[wrong]}..{end[wrong]}"
        raise ValueError(f"the edit {place} overlaps another or leaves its text of {sizes[wrong]} bytes")
    replacements = [(new or "").encode() for new in columns["replacement"].to_pylist()]
    stored = memoryview(texts.buffers()[2] or b"")
    pieces: list[bytes | memoryview] = []
    position = int(offsets[0])
    for first, last, new in zip((offsets[row] + start).tolist(), (offsets[row] + end).tolist(), replacements):
        pieces += [stored[position:first], new]
        position = last
    pieces.append(stored[position : offsets[-1]])
    grown = np.zeros(len(texts) + 1, np.int64)
    np.add.at(grown, row + 1, np.array([len(new) for new in replacements]) - (end - start))
    moved = offsets - offsets[0] + np.cumsum(grown)
    valid = texts.is_valid().buffers()[1] if texts.null_count else None
    viewed = pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(moved), pa.py_buffer(b"".join(pieces)), valid)
    viewed.validate(full=True)
    return viewed.cast(pa.string()), int((end - start).sum())
