"""The corpus of one source: the documents that stay, written once, with the account of all of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pydantic

from infra.documents import DOCUMENT_SCHEMA, text_bytes
from infra.stage import StageConfig, StageKind, stage
from infra.store.ledger import Account
from tasks.corpus.bins import Bins, with_parts
from tasks.corpus.outcomes import DUPLICATE_ID
from tasks.corpus.rules import KEPT

# Beside each document, its cluster of duplicates, which a validation split must not tear apart; null without one.
CORPUS_SCHEMA = DOCUMENT_SCHEMA.append(pa.field("cluster", pa.string()))


class CorpusConfig(StageConfig):
    """`edits`: the steps that changed the text, in order.

    `bins`: how a column cuts the documents into parts, which their metadata name.

    `clusters`: whether the documents are written with their clusters. A new document can come into a cluster with any
    other, and then the shards of both are written, and encoded, anew.
    """

    edits: tuple[str, ...] = ()
    clusters: bool = False
    bins: Bins | None = pydantic.Field(None, exclude_if=lambda bins: bins is None)


def _columns(config: CorpusConfig) -> list[str]:
    return [
        *DOCUMENT_SCHEMA.names,
        *("outcomes.outcome", "outcomes.cluster", "outcomes.words", "outcomes.lost", "outcomes.undated"),
        *("rules.length", "rules.struck"),
        *([config.bins.column] if config.bins is not None else []),
    ]


@stage(
    "corpus",
    version=5,
    kind=StageKind.select,
    config=CorpusConfig,
    columns=_columns,
    schema=CORPUS_SCHEMA,
)
def select_documents(documents: pa.Table, config: CorpusConfig) -> tuple[pa.Table, Account]:
    """The documents that stay, with their text edited, and the account of all documents by outcome.

    Bytes are UTF-8 bytes of text: of a document as stored, what each edit struck, and what was left when the document
    was kept or dropped. A document with a repeated id is out before any edit, with its text as stored. The measures
    ``STEP:dropped_words`` and ``STEP:lost_3_grams`` say what went with near-duplicates: their words, and their distinct
    3-grams that do not stand in the document because of which each went. ``STEP:unreadable_dates`` are the documents
    that had no date for the step although one is written.
    """
    outcome = documents["outcomes.outcome"].combine_chunks()
    kept = documents.filter(pc.equal(outcome, KEPT))
    lengths = documents["rules.length"].to_numpy()
    struck = _struck(documents, len(config.edits))
    struck_bytes = int(struck.sum())
    counts: dict[str, dict[str, int]] = {"dropped": {}, "failed": {}}
    bytes_out = {"kept": text_bytes(kept["text"])}
    for name in sorted(pc.unique(outcome).to_pylist()):
        if name == KEPT:
            continue
        out = pc.equal(outcome, name).to_numpy(zero_copy_only=False)
        step, kind, reason = name.split(":", 2)
        counts[kind][f"{step}:{reason}"] = int(out.sum())
        bytes_out[f"{step}:{reason}"] = bytes_out.get(f"{step}:{reason}", 0) + int(lengths[out].sum())
        if name == DUPLICATE_ID:
            bytes_out[f"{step}:{reason}"] += int(struck[out].sum())
            struck[out] = 0
    bytes_out |= {f"{step}:struck": int(struck[:, number].sum()) for number, step in enumerate(config.edits)}
    account = Account(
        rows_in=documents.num_rows,
        kept=kept.num_rows,
        dropped=counts["dropped"],
        failed=counts["failed"],
        bytes_in=int(lengths.sum() + struck_bytes),
        bytes_out=bytes_out,
        measures=_measures(documents, outcome),
    )
    clusters = kept["outcomes.cluster"] if config.clusters else pa.nulls(kept.num_rows, pa.string())
    if config.bins is not None:
        own = with_parts(kept, config.bins)
        kept = kept.set_column(kept.schema.get_field_index("metadata"), "metadata", own)
    columns = [*(kept[name] for name in DOCUMENT_SCHEMA.names), clusters]
    return pa.table(columns, schema=CORPUS_SCHEMA), account


def _measures(documents: pa.Table, outcome: pa.Array) -> dict[str, int]:
    """The words and the lost 3-grams of near-duplicates that went, and dates that cannot be read, by step."""
    known = documents["outcomes.words"].combine_chunks().is_valid()
    found: dict[str, int] = {}
    for name in sorted(pc.unique(outcome.filter(known)).to_pylist()):
        chosen = pc.and_(known, pc.equal(outcome, name))
        step = name.partition(":")[0]
        for column, measure in (("words", "dropped_words"), ("lost", "lost_3_grams")):
            found[f"{step}:{measure}"] = pc.sum(documents[f"outcomes.{column}"].filter(chosen)).as_py()
    undated = documents["outcomes.undated"].combine_chunks().drop_null()
    for value in undated.value_counts().to_pylist():
        found[f"{value['values']}:unreadable_dates"] = value["counts"]
    return found


def _struck(documents: pa.Table, edits: int) -> np.ndarray:
    """The bytes that each edit took from each document: shape (documents, edits)."""
    values = documents["rules.struck"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(documents.num_rows, edits).copy()
