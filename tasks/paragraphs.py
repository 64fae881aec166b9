"""Paragraph deduplication: strikes lines, or paragraphs, that several documents of a group of input files share.

By default as cc_net does. The comparison is by the first eight bytes of a SHA-1 (``dedup.py`` of
facebookresearch/cc_net at commit bda555bd):

- a line counts once per document, so repetition inside one document alone does not make it a duplicate;
- every copy of a line that occurs in two or more documents of the group is struck, including the first;
- of the remaining lines, repeats inside a document are struck and the first is kept.

With ``keep: first``, the first document of the group with a line keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pydantic

from infra.compiled import njit
from infra.documents import EDITS_TYPE, Annotations, Documents
from infra.stage import StageConfig, partitioned
from infra.tables import stack_rows
from tasks.text.lines import Lines, hash_lines, hash_paragraphs
from tasks.text.striking import strike

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
    """What is compared, and what stays.

    - `files_per_group`: documents are compared within that many neighbouring input files of one source. cc_net's groups
      have 50 of its 1,600 shards (hash_in_mem), which are 1/32 of the files of a crawl;
    - `unit`: ``line``, or ``paragraph``: the lines between blank ones;
    - `keep`: ``none`` strikes every copy of what documents share, ``first`` all but that of the first document.
    """

    retired: ClassVar[tuple[str, ...]] = ("partitions",)
    renamed: ClassVar[Mapping[str, str]] = {"shards_per_group": "files_per_group"}
    files_per_group: int = pydantic.Field(default=50, ge=1)
    unit: Literal["line", "paragraph"] = "line"
    keep: Literal["none", "first"] = "none"


def map_paragraphs(documents: Documents, config: ParagraphConfig) -> pa.Table:
    """The distinct line hashes of each document.

    Columns: partition and hash (uint64), and row (int32, the document's row in `documents`).
    """
    lines = _split(documents, config)
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
    (uint64), sorted by both, and keeper (int32): the row of the document of this shard that keeps it, or -1.
    """
    stacked = stack_rows(tables, hash=np.uint64, row=np.int32)
    shards, hashes, rows = stacked["shard"], stacked["hash"], stacked["row"]
    order = np.lexsort((rows, shards, hashes))
    shards, hashes, rows = shards[order], hashes[order], rows[order]
    first = np.ones(len(order), bool)
    first[1:] = hashes[1:] != hashes[:-1]
    shared = ~first
    shared[:-1] |= ~first[1:]
    keeper = np.where(first & (config.keep == "first"), rows, -1).astype(np.int32)
    # One row for a hash in a shard: the first, which has the keeper.
    once = first.copy()
    once[1:] |= shards[1:] != shards[:-1]
    chosen = np.flatnonzero(shared & once)
    chosen = chosen[np.lexsort((hashes[chosen], shards[chosen]))]
    return pa.table({"shard": shards[chosen], "hash": hashes[chosen], "keeper": keeper[chosen]})


def annotate_paragraphs(documents: Documents, rows: pa.Table, config: ParagraphConfig) -> Annotations:
    """The lines struck from each document, with the columns of `PARAGRAPH_SCHEMA`.

    `rows` are the reduced rows for the shard of `documents`. An edit removes whole lines, including the line feed
    before the next kept line (or after the last kept one), so the edited text is the kept lines joined by line feeds.
    `lines` and `struck` count lines; if they are equal, the edited text is empty. A document without text has no lines.
    Where paragraphs are compared, they are meant by lines here, and the blank lines between two of them by line feeds.
    """
    lines = _split(documents, config)
    order = np.argsort(rows["hash"].to_numpy())
    hashes, keepers = rows["hash"].to_numpy()[order], rows["keeper"].to_numpy()[order]
    at = np.minimum(np.searchsorted(hashes, lines.hash), max(len(hashes) - 1, 0))
    shared = lines.hash == _DELETED
    if len(hashes):
        found = hashes[at] == lines.hash
        shared |= found & (keepers[at] != lines.document)
    kept = np.zeros(len(lines.hash), bool)
    kept[_first_in_document(lines)] = True
    kept &= ~shared
    found = strike(lines.document, lines.start, lines.end, kept, documents.num_rows)
    return pa.table([found.edits, found.lines, found.struck, found.size], schema=PARAGRAPH_SCHEMA)


paragraphs = partitioned(
    "paragraphs",
    version=3,
    config=ParagraphConfig,
    reference="tasks.paragraphs:paragraphs",
    schema=PARAGRAPH_SCHEMA,
    columns={"map": ["text"], "annotate": ["text"]},
    map=map_paragraphs,
    reduce=reduce_paragraphs,
    annotate=annotate_paragraphs,
    describe=lambda columns: [f"{columns['struck']} of {columns['lines']} lines struck"],
)


def _split(documents: Documents, config: ParagraphConfig) -> Lines:
    hash_units = hash_paragraphs if config.unit == "paragraph" else hash_lines
    return hash_units(documents.column("text"))


def _first_in_document(lines: Lines) -> npt.NDArray[np.int64]:
    """The positions, in order, of lines that differ from all earlier lines of their document."""
    return np.flatnonzero(_differ(lines.document, lines.hash))


@njit(cache=True, nogil=True)
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
