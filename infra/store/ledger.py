"""The account of a stage: the records and bytes that came in, and the outcome of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

from infra.store.schema import MOST, Count, Range

FAILURES_KEPT = 1000


class BooksDoNotBalance(Exception):
    """The outcomes of an account do not add up to its input."""


@dataclass(frozen=True, slots=True)
class Account:
    """Counts of a stage or of one work unit: ``rows_in = kept + skipped + Σ dropped + Σ failed``, likewise for bytes.

    Bytes are payload bytes for a source and UTF-8 bytes of text elsewhere. `bytes_out` maps each outcome (``kept``,
    ``struck`` or a reason) to bytes. `examples` holds one example for every reason of `dropped`. `failures` holds
    the first `FAILURES_KEPT` failures, each with file or document, byte offset, reason and example. `measures` are
    other counts, by name, and need not balance.
    """

    rows_in: Count = 0
    kept: Count = 0
    skipped: Count = 0
    dropped: dict[str, Count] = field(default_factory=dict)
    failed: dict[str, Count] = field(default_factory=dict)
    bytes_in: Count = 0
    # Text that edits make longer counts as struck below zero.
    bytes_out: dict[str, Annotated[int, Range(-MOST, MOST)]] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    failures: list[dict[str, str | int | float | bool | None]] = field(default_factory=list)
    measures: dict[str, Count] = field(default_factory=dict)

    def check(self, where: str) -> None:
        """Raises BooksDoNotBalance unless every record and byte that came in has an outcome."""
        accounted = self.kept + self.skipped + sum(self.dropped.values()) + sum(self.failed.values())
        if accounted != self.rows_in:
            raise BooksDoNotBalance(
                f"{where}: {self.rows_in} came in, {accounted} are accounted for "
                f"(kept {self.kept}, skipped {self.skipped}, dropped {self.dropped}, failed {self.failed})"
            )
        if sum(self.bytes_out.values()) != self.bytes_in:
            raise BooksDoNotBalance(
                f"{where}: {self.bytes_in} bytes came in, {sum(self.bytes_out.values())} are accounted for "
                f"({self.bytes_out})"
            )


def total(accounts: Iterable[Account]) -> Account:
    """The sum of accounts; keeps the first example of each reason. Its work is that of reading them once."""
    rows_in = kept = skipped = bytes_in = 0
    dropped: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    bytes_out: Counter[str] = Counter()
    measures: Counter[str] = Counter()
    examples: dict[str, str] = {}
    failures: list[dict[str, str | int | float | bool | None]] = []
    for account in accounts:
        rows_in += account.rows_in
        kept += account.kept
        skipped += account.skipped
        bytes_in += account.bytes_in
        dropped.update(account.dropped)
        failed.update(account.failed)
        bytes_out.update(account.bytes_out)
        measures.update(account.measures)
        for reason, example in account.examples.items():
            examples.setdefault(reason, example)
        failures += account.failures[: FAILURES_KEPT - len(failures)]
    return Account(
        rows_in=rows_in,
        kept=kept,
        skipped=skipped,
        dropped=dict(sorted(dropped.items())),
        failed=dict(sorted(failed.items())),
        bytes_in=bytes_in,
        bytes_out=dict(sorted(bytes_out.items())),
        examples=examples,
        failures=failures,
        measures=dict(sorted(measures.items())),
    )
