"""The account of a stage: the records and bytes that came in, and the outcome of each."""

from __future__ import annotations

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
    other counts of what was dropped, by name, and need not balance.
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
    """The sum of accounts; keeps the first example of each reason."""
    result = Account()
    for account in accounts:
        result = Account(
            rows_in=result.rows_in + account.rows_in,
            kept=result.kept + account.kept,
            skipped=result.skipped + account.skipped,
            dropped=_added(result.dropped, account.dropped),
            failed=_added(result.failed, account.failed),
            bytes_in=result.bytes_in + account.bytes_in,
            bytes_out=_added(result.bytes_out, account.bytes_out),
            examples={**account.examples, **result.examples},
            failures=(result.failures + account.failures)[:FAILURES_KEPT],
            measures=_added(result.measures, account.measures),
        )
    return result


def _added(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    return {reason: left.get(reason, 0) + right.get(reason, 0) for reason in sorted({*left, *right})}
