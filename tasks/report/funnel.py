"""The corpus funnel: from the records read to the rows written, step by step.

Every source has a funnel; the whole is their sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.store.ledger import Account, BooksDoNotBalance, total

READ = "source"
CORPUS = "corpus"
IDS = "documents"  # the step where a document with a repeated id fails


@dataclass(frozen=True, slots=True)
class FunnelEntry:
    """The effect of one step. The first entry counts records and payload bytes.

    Later entries count documents and UTF-8 bytes of text. `bytes_struck` were removed by edits, not with documents.
    `measures` are other counts of what went: see `tasks.corpus.selection`.
    """

    stage: str
    documents_in: int
    documents_kept: int
    dropped: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_kept: int = 0
    bytes_struck: int = 0
    measures: dict[str, int] = field(default_factory=dict)

    @property
    def lost_per_million_words(self) -> float | None:
        """Distinct 3-grams that went with near-duplicates, per million words of these. None if no text was compared."""
        words = self.measures.get("dropped_words", 0)
        return self.measures.get("lost_3_grams", 0) / words * 1e6 if words else None

    def to_json(self) -> dict[str, Any]:
        """The entry as printed by `millrace build --json`."""
        return asdict(self)


def source_funnel(read: Account, corpus: Account, steps: Sequence[str], rows_written: int) -> list[FunnelEntry]:
    """The entries of one source: its records, repeated ids, then the `steps`, and the corpus.

    `read` is the account of the source's documents. `corpus` counts every removed document as ``step:reason``. Raises
    BooksDoNotBalance unless the "in" of every entry is the "kept" of the previous one, the first is the number of
    records read, and the last the number of rows written.
    """
    read.check("source")
    corpus.check("corpus")
    if read.kept != corpus.rows_in:
        raise BooksDoNotBalance(f"the source kept {read.kept} documents, but the corpus read {corpus.rows_in}")
    entries = [
        FunnelEntry(
            READ, read.rows_in, read.kept, read.dropped, read.failed, read.bytes_in, read.bytes_out.get("kept", 0)
        )
    ]
    documents, size = corpus.rows_in, corpus.bytes_in
    for step in (IDS, *steps):
        dropped, failed = _of_step(corpus.dropped, step), _of_step(corpus.failed, step)
        struck = corpus.bytes_out.get(f"{step}:struck", 0)
        out = sum(corpus.bytes_out.get(f"{step}:{reason}", 0) for reason in {*dropped, *failed})
        kept = documents - sum(dropped.values()) - sum(failed.values())
        measures = _of_step(corpus.measures, step)
        entries.append(FunnelEntry(step, documents, kept, dropped, failed, size, size - struck - out, struck, measures))
        documents, size = kept, size - struck - out
    written = corpus.bytes_out.get("kept", 0)
    entries.append(FunnelEntry(CORPUS, documents, rows_written, {}, {}, size, written))
    if documents != rows_written or size != written:
        raise BooksDoNotBalance(
            f"{documents} documents of {size} bytes remain at the end of the funnel, but "
            f"{rows_written} rows of {written} bytes were written"
        )
    return entries


def whole_funnel(
    read: Mapping[str, Account], corpora: Mapping[str, Account], steps: Mapping[str, Sequence[str]], rows_written: int
) -> list[FunnelEntry]:
    """The funnel of all sources together, with the steps of every source. Raises BooksDoNotBalance."""
    names = list(dict.fromkeys(step for source in steps for step in steps[source]))
    return source_funnel(total(read.values()), total(corpora.values()), names, rows_written)


def _of_step(counts: Mapping[str, int], step: str) -> dict[str, int]:
    prefix = f"{step}:"
    return {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix)}
