"""A sample of the records of a file, and what it tells of the others. Only forecasts read samples.

Every record is found, which is cheap, and those of the sample are read. The choice depends only on the file's content
and the number of the record, so the same sample is taken on every machine.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from infra.outcomes import Found, Kept, Outcome, Record, Underway
from infra.store.digests import sha256_bytes

FINDING = "finding_microseconds"
# By size class: records found and read, documents and text that they gave, and processor time.
FOUND, TAKEN, DOCUMENTS, TEXT_BYTES, MICROSECONDS = (*("found", "taken", "documents", "text_bytes", "microseconds"),)


@dataclass(frozen=True)
class Sample:
    """One record of each `every` neighbours, at a place that a hash chooses: files with a period are no trap.

    `half` 0 and 1 are the two halves of that sample.
    """

    every: int
    half: int | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or self.half not in (None, 0, 1):
            raise ValueError(f"{self} is no sample: take one of at least 1 records, and half 0 or 1")

    def chooser(self, digest: str) -> Callable[[int], bool]:
        """Whether the record of that number is in the sample of the file with that sha256."""
        first = int(digest[-1], 16)
        chosen: tuple[int, int] = (-1, -1)

        def takes(number: int) -> bool:
            nonlocal chosen
            block, place = divmod(number, self.every)
            if self.half is not None and (block + first) % 2 != self.half:
                return False
            if chosen[0] != block:
                chosen = block, int(sha256_bytes(f"{digest} {block}".encode())[:15], 16) % self.every
            return place == chosen[1]

        return takes


class Sampler:
    """Takes the sample of one file, and counts what it finds by class of size (the number of bits of the size)."""

    def __init__(self, sample: Sample, digest: str) -> None:
        self._takes = sample.chooser(digest)
        self._counts = Counter[str]()

    @property
    def measures(self) -> dict[str, int]:
        """The counts, as ``WHAT/CLASS``, and the microseconds of processor time to find all records."""
        return dict(sorted(self._counts.items()))

    def of(self, found: Iterable[Found]) -> Iterator[Found]:
        """The records of the sample among those that a source finds."""
        records, number = iter(found), 0
        while True:
            started = time.process_time_ns()
            item = next(records, None)
            self._counts[FINDING] += (time.process_time_ns() - started) // 1000
            if item is None:
                return
            if isinstance(item, Underway):
                yield item
                continue
            size = len(item.data) if isinstance(item, Record) else item.bytes
            group = size.bit_length()
            self._counts[f"{FOUND}/{group}"] += 1
            if self._takes(number):
                self._counts[f"{TAKEN}/{group}"] += 1
                yield self._read(item, group) if isinstance(item, Record) else item
            number += 1

    def _read(self, record: Record, group: int) -> Record:
        def outcome() -> Outcome:
            started = time.process_time_ns()
            read = record.outcome()
            self._counts[f"{MICROSECONDS}/{group}"] += (time.process_time_ns() - started) // 1000
            if isinstance(read, Kept):
                self._counts[f"{DOCUMENTS}/{group}"] += 1
                self._counts[f"{TEXT_BYTES}/{group}"] += len(read.document.text.encode())
            return read

        return replace(record, outcome=outcome)
