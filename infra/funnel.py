"""The corpus funnel: from the records that were read to the rows that were written, entry by entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.store.ledger import Account, BooksDoNotBalance


@dataclass(frozen=True, slots=True)
class FunnelEntry:
    """What one stage let through. Documents of the first entry are records, its bytes are payload bytes.

    Further down, bytes are UTF-8 bytes of text; `bytes_struck` left with paragraphs, not with documents.
    """

    stage: str
    documents_in: int
    documents_kept: int
    dropped: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_kept: int = 0
    bytes_struck: int = 0

    def to_json(self) -> dict[str, Any]:
        """As `millrace build --json` prints it."""
        return asdict(self)


def corpus_funnel(source: Account, corpus: Account, stages: Sequence[str], rows_written: int) -> list[FunnelEntry]:
    """The entries in order: the source, duplicate ids, paragraphs, the stages of the recipe's rules, the corpus.

    `corpus` books every document that is out as ``stage:reason``; `stages` are in the order of the rules.
    Raises BooksDoNotBalance unless every entry's "in" is the "kept" of the one before, the first is the records
    read and the last the rows written.
    """
    source.check("source")
    corpus.check("corpus")
    if source.kept != corpus.rows_in:
        raise BooksDoNotBalance(f"the source kept {source.kept} documents, the corpus saw {corpus.rows_in}")
    entries = [
        FunnelEntry(
            stage="source",
            documents_in=source.rows_in,
            documents_kept=source.kept,
            dropped=source.dropped,
            failed=source.failed,
            bytes_in=source.bytes_in,
            bytes_kept=source.bytes_out.get("kept", 0),
        )
    ]
    documents, size = corpus.rows_in, corpus.bytes_in
    for stage in stages:
        dropped, failed = _of_stage(corpus.dropped, stage), _of_stage(corpus.failed, stage)
        struck = corpus.bytes_out.get("paragraphs:struck", 0) if stage == "paragraphs" else 0
        out = sum(corpus.bytes_out.get(f"{stage}:{reason}", 0) for reason in {*dropped, *failed})
        kept = documents - sum(dropped.values()) - sum(failed.values())
        entries.append(FunnelEntry(stage, documents, kept, dropped, failed, size, size - struck - out, struck))
        documents, size = kept, size - struck - out
    entries.append(FunnelEntry("corpus", documents, rows_written, {}, {}, size, corpus.bytes_out.get("kept", 0)))
    if documents != rows_written or size != corpus.bytes_out.get("kept", 0):
        raise BooksDoNotBalance(
            f"{documents} documents of {size} bytes are left at the end of the funnel; "
            f"{rows_written} rows of {corpus.bytes_out.get('kept', 0)} bytes were written"
        )
    return entries


def _of_stage(counts: dict[str, int], stage: str) -> dict[str, int]:
    prefix = f"{stage}:"
    return {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix)}
