"""Documents as Arrow tables: their schema, and text with edits applied."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeAlias

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
    """A table of documents with `DOCUMENT_SCHEMA`; metadata is stored as canonical JSON."""
    rows = [
        {
            "id": document.id,
            "text": document.text,
            "url": document.url,
            "date": document.date,
            "source": document.source,
            "licence": document.licence,
            "metadata": json.dumps(document.metadata, sort_keys=True, ensure_ascii=False, separators=(",", ":")),
        }
        for document in documents
    ]
    return pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA)


def text_bytes(text: pa.ChunkedArray) -> int:
    """The total UTF-8 bytes of a text column."""
    return int(pc.sum(pc.binary_length(text)).as_py() or 0)


def apply_edits(text: pa.ChunkedArray, edits: pa.ChunkedArray) -> tuple[pa.Array, int]:
    """The text with spans replaced, and the number of UTF-8 bytes that were struck.

    `edits` holds, per document, sorted and disjoint spans (start, end, replacement) of UTF-8 byte offsets into the
    stored text; null means no edits. Raises ValueError for spans that overlap, run backwards or exceed the text.
    Replaced bytes count as struck.
    """
    viewed: list[str] = []
    struck = 0
    for value, spans in zip(text.to_pylist(), edits.to_pylist(), strict=True):
        if not spans:
            viewed.append(value)
            continue
        stored = value.encode()
        pieces: list[bytes] = []
        position = 0
        for span in spans:
            start, end = span["start"], span["end"]
            if not position <= start <= end <= len(stored):
                raise ValueError(f"the edit {start}..{end} overlaps another or leaves its text of {len(stored)} bytes")
            pieces += [stored[position:start], (span["replacement"] or "").encode()]
            struck += end - start
            position = end
        pieces.append(stored[position:])
        viewed.append(b"".join(pieces).decode())
    return pa.array(viewed, pa.string()), struck
