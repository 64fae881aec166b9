"""The records of a file: each is read within its budget; one that exceeds it fails, and the rest goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

from infra.engine.watch import OverBudget, Watch
from infra.outcomes import OVER_BUDGET, Failed, Found, Kept, Outcome, Record, Underway
from infra.store.digests import sha256_bytes
from infra.store.inputs import InputFile
from infra.store.verdicts import Verdicts

# A file with more such records is made to hold workers up: the rest of it is not read.
MOST_OVER_BUDGET = 16


class RecordReader:
    """Takes two steps for each record: the source finds it, and then it is read."""

    def __init__(self, file: InputFile, watch: Watch, verdicts: Verdicts) -> None:
        self._file, self._watch, self._verdicts = file, watch, verdicts
        self._offset = 0

    def outcomes(self, found: Iterable[Found]) -> Iterator[Outcome]:
        """The outcome of every record. If the source itself exceeds the budget, the rest of the file is one failure."""
        items = iter(found)
        number = failed = 0
        while True:
            rest = f"{self._file.sha256} from record {number}".encode()
            try:
                if failed > MOST_OVER_BUDGET:
                    raise OverBudget(f"found more than {MOST_OVER_BUDGET} records beyond their budget in this file")
                item = self._watch.take(lambda: next(items, None), self._is_known(rest))
            except OverBudget as over:
                yield self._failure(rest, 0, f"{over}; the file is not read from here on")
                return
            if item is None:
                return
            if isinstance(item, Underway):
                continue
            outcome = self._identified(item, self._read(item)) if isinstance(item, Record) else item
            failed += isinstance(outcome, Failed) and outcome.reason == OVER_BUDGET
            number += 1
            yield outcome

    def _read(self, record: Record) -> Outcome:
        self._offset = record.offset
        try:
            return self._watch.take(record.outcome, self._is_known(record.data))
        except OverBudget as over:
            return self._failure(record.data, len(record.data), str(over))

    def _identified(self, record: Record, outcome: Outcome) -> Outcome:
        """The outcome; a document without an id of its own gets one. Copies of a file have the same ids."""
        if not isinstance(outcome, Kept) or outcome.document.id is not None:
            return outcome
        place = hashlib.sha1(f"{self._file.sha256} {record.offset}".encode()).hexdigest()
        return replace(outcome, document=replace(outcome.document, id=f"{outcome.document.source}/{place}"))

    def _is_known(self, data: bytes) -> bool:
        # Without a verdict in the lake, there is nothing to compare a digest with.
        return bool(self._verdicts) and sha256_bytes(data) in self._verdicts

    def _failure(self, data: bytes, size: int, cause: str) -> Failed:
        where = f"{self._file.name}, byte {self._offset}"
        self._verdicts.add(sha256_bytes(data), {"where": where, "cause": cause, "budget": str(self._watch.budget)})
        example = f"{where}: the worker {cause} ({self._watch.budget}); another machine may differ"
        return Failed(OVER_BUDGET, size, example, self._offset)
