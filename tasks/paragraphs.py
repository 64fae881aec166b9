"""Paragraph deduplication as in cc_net: strikes lines that several documents of a group of shards share.

The comparison is by the first eight bytes of a SHA-1 (``dedup.py`` of facebookresearch/cc_net at commit bda555bd):

- a line counts once per document, so repetition inside one document alone does not make it a duplicate;
- every copy of a line that occurs in two or more documents of the group is struck, including the first;
- of the remaining lines, repeats inside a document are struck and the first is kept.
"""

from __future__ import annotations

from collections.abc import Iterable

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pydantic

from infra.documents import EDITS_TYPE, Annotations, Documents
from infra.stage import StageConfig, partitioned
from tasks.text.lines import Lines, hash_lines

PARAGRAPH_SCHEMA = pa.schema(
    [
        pa.field("edits", EDITS_TYPE),
        pa.field("lines", pa.int32()),
        pa.field("struck", pa.int32()),
        pa.field("bytes_struck", pa.int64()),
    ]
)
_DELETED = np.uint64(0)  # cc_net marks struck lines with the hash 0, so a line with that real hash is struck too


class ParagraphConfig(StageConfig):
    """`shards_per_group`: documents are compared within that many adjacent shards (cc_net's hash_in_mem, 50)."""

    shards_per_group: int = pydantic.Field(default=50, ge=1)


def map_paragraphs(documents: Documents, config: ParagraphConfig) -> pa.Table:
    """The distinct line hashes of each document.

    Columns: partition and hash (uint64), and row (int32, the document's row in `documents`).
    """
    lines = hash_lines(documents.column("text"))
    first = _first_in_document(lines)
    hashes = lines.hash[first]
    return pa.table(
        {
            "partition": pa.array(hashes),
            "row": pa.array(lines.document[first].astype(np.int32)),
            "hash": pa.array(hashes),
        }
    )


def reduce_paragraphs(tables: Iterable[tuple[int, pa.Table]], config: ParagraphConfig) -> pa.Table:
    """The hashes that occur in at least two documents of a group, for each shard that contains them.

    Takes the mapped rows of one partition of a group by shard, in shard order. Columns: shard (int32) and hash
    (uint64), sorted by both.
    """
    group = [(shard, table.column("hash").to_numpy()) for shard, table in tables]
    every = np.concatenate([np.empty(0, np.uint64), *(hashes for _, hashes in group)])
    distinct, documents = np.unique(every, return_counts=True)
    shared = distinct[documents >= 2]
    duplicates = [np.intersect1d(hashes, shared) for _, hashes in group]
    shards = [np.full(len(found), shard, np.int32) for (shard, _), found in zip(group, duplicates, strict=True)]
    return pa.table(
        {
            "shard": pa.array(np.concatenate(shards) if shards else np.empty(0, np.int32)),
            "hash": pa.array(np.concatenate(duplicates) if duplicates else np.empty(0, np.uint64)),
        }
    )


def annotate_paragraphs(documents: Documents, rows: pa.Table, config: ParagraphConfig) -> Annotations:
    """The lines struck from each document, with the columns of `PARAGRAPH_SCHEMA`.

    `rows` are the reduced rows for the shard of `documents`. An edit removes whole lines, including the line feed
    before the next kept line (or after the last kept one), so the edited text is the kept lines joined by line feeds.
    `lines` and `struck` count lines; if they are equal, the edited text is empty. A document without text has no lines.
    """
    lines = hash_lines(documents.column("text"))
    duplicates = np.unique(rows.column("hash").to_numpy())
    shared = np.isin(lines.hash, duplicates) | (lines.hash == _DELETED)
    kept = np.zeros(len(lines.hash), bool)
    kept[_first_in_document(lines)] = True
    kept &= ~shared
    count = documents.num_rows
    number = np.bincount(lines.document, minlength=count)
    struck = np.bincount(lines.document[~kept], minlength=count)
    starts, ends, owner = _struck_spans(lines, kept)
    edits = pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))]).astype(np.int32)),
        pa.StructArray.from_arrays(
            [pa.array(starts), pa.array(ends), pa.array([""] * len(starts), pa.string())],
            fields=list(EDITS_TYPE.value_type),
        ),
    )
    size = np.zeros(count, np.int64)
    np.add.at(size, owner, ends - starts)
    return pa.table(
        [
            edits.cast(EDITS_TYPE),
            pa.array(number.astype(np.int32)),
            pa.array(struck.astype(np.int32)),
            pa.array(size),
        ],
        schema=PARAGRAPH_SCHEMA,
    )


paragraphs = partitioned(
    "paragraphs",
    version=2,
    config=ParagraphConfig,
    reference="tasks.paragraphs:paragraphs",
    schema=PARAGRAPH_SCHEMA,
    columns={"map": ["text"], "annotate": ["text"]},
    map=map_paragraphs,
    reduce=reduce_paragraphs,
    annotate=annotate_paragraphs,
    describe=lambda columns: [f"{columns['struck']} of {columns['lines']} lines struck"],
)


def _first_in_document(lines: Lines) -> npt.NDArray[np.int64]:
    """The positions, in order, of lines that differ from all earlier lines of their document."""
    return np.flatnonzero(_differ(lines.document, lines.hash))


@numba.njit(cache=True, nogil=True)
def _differ(document: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    slots = 16
    while slots < 2 * len(hashes):
        slots *= 2
    held = np.full(slots, -1, np.int64)
    differs = np.ones(len(hashes), np.bool_)
    for line in range(len(hashes)):
        slot = np.int64(hashes[line] & np.uint64(slots - 1))
        # A line of an earlier document gives its place to the first one that meets it.
        while held[slot] >= 0 and document[held[slot]] == document[line]:
            if hashes[held[slot]] == hashes[line]:
                differs[line] = False
                break
            slot = (slot + 1) & (slots - 1)
        held[slot] = line
    return differs


def _struck_spans(
    lines: Lines, kept: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Start, end and document of each run of struck lines."""
    total = len(kept)
    opens = np.ones(total, bool)
    opens[1:] = np.diff(lines.document) != 0
    closes = np.append(opens[1:], True)[:total]
    struck = ~kept
    first = np.flatnonzero(struck & (opens | np.append(True, kept[:-1])[:total]))
    last = np.flatnonzero(struck & (closes | np.append(kept[1:], True)[:total]))
    starts, ends = lines.start[first].copy(), lines.end[last].copy()
    ends[~closes[last]] += 1
    # At the end of a document, no line feed follows the run, so the one before it is removed.
    starts[closes[last] & ~opens[first]] -= 1
    return starts, ends, lines.document[first]
