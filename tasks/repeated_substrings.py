"""Repeated substrings: strikes runs of tokens that an earlier document, or an earlier part of this one, has too.

Lee et al., Deduplicating Training Data Makes Language Models Better, 2022, section 4.2, with two differences: one copy
of each run stays, and runs are found by the hashes of all windows of `tokens` tokens, in partitions, instead of by one
suffix array. Two of a trillion windows collide with a probability of 3 %; the window would then be struck.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pydantic

from infra.documents import EDITS_TYPE, Annotations, Documents
from infra.stage import StageConfig, partitioned
from infra.tables import stack_rows
from tasks.text.similarity import ngram_hashes
from tasks.text.tokens import token_spans

SUBSTRINGS_SCHEMA = pa.schema(
    [pa.field("edits", EDITS_TYPE), pa.field("tokens", pa.int64()), pa.field("struck", pa.int64())]
)


class SubstringsConfig(StageConfig):
    """`tokens`: the shortest run that counts as repeated (Lee et al. take 50)."""

    tokens: int = pydantic.Field(50, ge=2)


def map_windows(documents: Documents, config: SubstringsConfig) -> pa.Table:
    """Every window of tokens: columns partition and hash (uint64), row and position (int32), its first token."""
    hashes, rows, positions = [np.empty(0, np.uint64)], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for row, text in enumerate(documents["text"].to_pylist()):
        tokens = token_spans(text)[0]
        if len(tokens) >= config.tokens:
            found = ngram_hashes(tokens, config.tokens)
            hashes.append(found)
            rows.append(np.full(len(found), row, np.int32))
            positions.append(np.arange(len(found), dtype=np.int32))
    every = np.concatenate(hashes)
    return pa.table(
        {"partition": every, "hash": every, "row": np.concatenate(rows), "position": np.concatenate(positions)}
    )


def find_repeated(tables: Iterable[tuple[int, pa.Table]], config: SubstringsConfig) -> pa.Table:
    """The windows that occur more than once: columns shard, row, position (int32), and first (bool).

    `first` is true for the first of each in the order of documents.
    """
    rows = stack_rows(tables, hash=np.uint64, row=np.int32, position=np.int32)
    shard, hashes, row, position = rows["shard"], rows["hash"], rows["row"], rows["position"]
    order = np.lexsort((position, row, shard, hashes))
    hashes, shard, row, position = hashes[order], shard[order], row[order], position[order]
    first = np.ones(len(order), bool)
    first[1:] = hashes[1:] != hashes[:-1]
    several = ~first
    several[:-1] |= ~first[1:]
    return pa.table(
        {"shard": shard[several], "row": row[several], "position": position[several], "first": first[several]}
    )


def annotate_repeated(documents: Documents, rows: pa.Table, config: SubstringsConfig) -> Annotations:
    """The runs that are struck from each document, with the columns of `SUBSTRINGS_SCHEMA`.

    A token is struck if it is in a window that occurs before, and in none that occurs here first and again elsewhere.
    An edit ends before the next token that stays. `tokens` and `struck` count tokens.
    """
    by_row: dict[int, list[tuple[int, bool]]] = {}
    columns = (rows[name].to_pylist() for name in ("row", "position", "first"))
    for row, position, first in zip(*columns, strict=True):
        by_row.setdefault(row, []).append((position, first))
    edits: list[list[dict[str, object]]] = []
    tokens: list[int] = []
    struck: list[int] = []
    for row, text in enumerate(documents["text"].to_pylist()):
        _, starts, ends = token_spans(text)
        out = np.zeros(len(starts), bool)
        for position, first in sorted(by_row.get(row, []), key=lambda window: window[1]):
            out[position : position + config.tokens] = not first
        edits.append(_spans(out, starts, ends))
        tokens.append(len(starts))
        struck.append(int(out.sum()))
    return pa.table([pa.array(edits, EDITS_TYPE), pa.array(tokens), pa.array(struck)], schema=SUBSTRINGS_SCHEMA)


repeated_substrings = partitioned(
    "repeated_substrings",
    version=1,
    config=SubstringsConfig,
    reference="tasks.repeated_substrings:repeated_substrings",
    schema=SUBSTRINGS_SCHEMA,
    columns={"map": ["text"], "annotate": ["text"]},
    map=map_windows,
    reduce=find_repeated,
    annotate=annotate_repeated,
    # A window for every token, of 40 bytes in memory: some 15 KB a document of 350 tokens.
    documents_per_partition=1 << 15,
    describe=lambda columns: [f"{columns['struck']} of {columns['tokens']} tokens struck"],
)


def _spans(out: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> list[dict[str, object]]:
    """The byte spans of runs of struck tokens, with the white space behind them, or before them at the end."""
    edges = np.flatnonzero(np.diff(np.r_[False, out, False].astype(np.int8)))
    spans: list[dict[str, object]] = []
    for first, behind in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        start, end = int(starts[first]), int(ends[behind - 1])
        if behind < len(starts):
            end = int(starts[behind])
        elif first > 0:
            start = int(ends[first - 1])
        spans.append({"start": start, "end": end, "replacement": ""})
    return spans
