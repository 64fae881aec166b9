"""C4's duplicate lines: each line stays in one page only, that with the least MD5 of its URL.

After ``remove_duplicate_text`` of ``c4_utils.py`` in tensorflow/datasets. Lines are compared stripped and in lower
case; of equal ones in one page the first stays. Pages are told apart by their normalised URLs, as there: those of one
URL keep their lines, and `url_duplicates` chooses among them.

C4 then drops pages of which less than three sentences are left: count them in a step behind this one.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from infra.documents import EDITS_TYPE, Annotations, Documents
from infra.stage import StageConfig, partitioned
from infra.tables import stack_rows
from tasks.text.c4_urls import normalised_url
from tasks.text.striking import strike

C4_LINES_SCHEMA = pa.schema(
    [
        pa.field("edits", EDITS_TYPE),
        pa.field("lines", pa.int32()),
        pa.field("struck", pa.int32()),
        pa.field("bytes_struck", pa.int64()),
    ]
)


class C4LinesConfig(StageConfig):
    """Nothing can be set."""


def map_lines(documents: Documents, config: C4LinesConfig) -> pa.Table:
    """The different lines of each document.

    Columns: partition, high, low (uint64), the MD5 of the line; page_high, page_low (uint64), that of the page's URL,
    or of its id where it has none; row (int32).
    """
    digests: list[bytes] = []
    pages: list[bytes] = []
    rows: list[int] = []
    columns = (documents[name].to_pylist() for name in ("text", "url", "id"))
    for row, (text, url, identity) in enumerate(zip(*columns, strict=True)):
        found = dict.fromkeys(digest for digest, _, _ in _lines(text))
        digests += found
        page = hashlib.md5((identity if url is None else normalised_url(url)).encode()).digest()
        pages += [page] * len(found)
        rows += [row] * len(found)
    # Big-endian, so that they are in the order of the hexadecimal digits.
    line, page_of = (np.frombuffer(b"".join(some), ">u8").reshape(-1, 2).astype(np.uint64) for some in (digests, pages))
    return pa.table(
        {
            "partition": line[:, 0],
            "high": line[:, 0],
            "low": line[:, 1],
            "page_high": page_of[:, 0],
            "page_low": page_of[:, 1],
            "row": np.array(rows, np.int32),
        }
    )


def find_losing(tables: Iterable[tuple[int, pa.Table]], config: C4LinesConfig) -> pa.Table:
    """The lines that stay in another page: columns shard, row (int32), high and low (uint64)."""
    rows = stack_rows(tables, high=np.uint64, low=np.uint64, page_high=np.uint64, page_low=np.uint64, row=np.int32)
    order = np.lexsort((rows["page_low"], rows["page_high"], rows["low"], rows["high"]))
    high, low, page_high, page_low = (rows[name][order] for name in ("high", "low", "page_high", "page_low"))
    starts = np.ones(len(order), bool)
    starts[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    first = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
    loses = (page_high != page_high[first]) | (page_low != page_low[first])
    lost = np.sort(order[loses])
    return pa.table({name: rows[name][lost] for name in ("shard", "row", "high", "low")})


def annotate_lines(documents: Documents, rows: pa.Table, config: C4LinesConfig) -> Annotations:
    """The lines struck from each document, with the columns of `C4_LINES_SCHEMA`: as `tasks.paragraphs` has them."""
    lost: dict[int, set[bytes]] = {}
    for row, high, low in zip(*(rows[name].to_pylist() for name in ("row", "high", "low")), strict=True):
        lost.setdefault(row, set()).add(high.to_bytes(8, "big") + low.to_bytes(8, "big"))
    document, starts, ends = array("q"), array("q"), array("q")  # a text may have millions of lines
    kept = bytearray()
    for row, text in enumerate(documents["text"].to_pylist()):
        gone = lost.get(row, set())
        for digest, start, end in _lines(text):
            document.append(row)
            starts.append(start)
            ends.append(end)
            kept.append(digest not in gone)
            gone.add(digest)
    owner, start_of, end_of = (np.frombuffer(column, np.int64) for column in (document, starts, ends))
    found = strike(owner, start_of, end_of, np.frombuffer(kept, np.bool_), documents.num_rows)
    return pa.table([found.edits, found.lines, found.struck, found.size], schema=C4_LINES_SCHEMA)


def _lines(text: str) -> Iterator[tuple[bytes, int, int]]:
    """MD5, start and end (bytes) of each line of a text; an empty text has an empty line."""
    start = 0
    for line in text.split("\n"):
        end = start + len(line.encode())
        yield hashlib.md5(line.strip().lower().encode()).digest(), start, end
        start = end + 1


c4_lines = partitioned(
    "c4_lines",
    version=1,
    config=C4LinesConfig,
    reference="tasks.c4_lines:c4_lines",
    schema=C4_LINES_SCHEMA,
    columns={"map": ["text", "url", "id"], "annotate": ["text"]},
    map=map_lines,
    reduce=find_losing,
    annotate=annotate_lines,
    # A document of a page's length has some 20 lines, of 44 bytes each.
    documents_per_partition=1 << 18,
    describe=lambda columns: [f"{columns['struck']} of {columns['lines']} lines struck"],
)
