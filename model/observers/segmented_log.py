"""A log of JSON lines in the lake, in one object per checkpoint, so that a kill loses no line of a committed step.

    FOLDER/step-000123.jsonl  the records up to the checkpoint after step 123, written before it is committed
    FOLDER/tail.jsonl         the records since the newest checkpoint, for live display

A resumed run repeats the steps after its checkpoint, so their records are dropped first. After a commit, the tail may
repeat records of the checkpoint's object; for readers, that object takes precedence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from infra.store.digests import canonical
from infra.store.errors import NotThere
from infra.store.lake import Lake

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_SEGMENT = re.compile(r"tail\.jsonl|step-(\d{6,12})\.jsonl")
Record = TypeVar("Record", bound="DataclassInstance")


class SegmentedLog(Generic[Record]):
    """The writer of a segmented log; only one process may write it. Records are dataclasses."""

    def __init__(self, lake: Lake, folder: str) -> None:
        self._lake, self._folder = lake, folder
        self._since_checkpoint: list[Record] = []
        self._changed = False

    def begin(self, step: int) -> None:
        """Continue after the checkpoint at `step`: delete the records of later steps."""
        for entry in list(self._lake.list(self._folder)):
            found = _SEGMENT.fullmatch(entry.path.rpartition("/")[2])
            if found is not None and (found[1] is None or int(found[1]) > step):
                self._lake.delete(entry.path)
        self._since_checkpoint, self._changed = [], False

    def add(self, record: Record) -> None:
        """Add a record without writing it."""
        self._since_checkpoint.append(record)
        self._changed = True

    def flush(self) -> None:
        """Write the tail if it has new records."""
        if self._changed:
            self._lake.write(f"{self._folder}/tail.jsonl", _lines(self._since_checkpoint))
            self._changed = False

    def commit(self, step: int) -> None:
        """Write the records up to `step` to their own object."""
        if self._since_checkpoint:
            self._lake.write(f"{self._folder}/step-{step:06d}.jsonl", _lines(self._since_checkpoint))
        self._since_checkpoint, self._changed = [], False


def read_segments(lake: Lake, folder: str) -> Iterator[list[bytes]]:
    """The lines of each object of a log, in the order of steps. The tail comes last and may repeat lines."""
    for entry in lake.list(folder):  # sorted by name
        if not _SEGMENT.fullmatch(entry.path.rpartition("/")[2]):
            continue
        try:
            yield lake.read(entry.path).splitlines()
        except NotThere:  # replaced since the listing
            continue


def _lines(records: list[Any]) -> bytes:
    return b"".join(canonical(asdict(record)) + b"\n" for record in records)
