"""Reads ahead of computing: while a worker computes, a thread of it copies the remote parts that are needed next.

Only parts of remote lakes are copied, in the order in which they are used, and only while the disk keeps room. What
goes wrong is left to the reader of the part, which asks for it again and tells.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from infra.engine.units import WorkUnit
from infra.stage import find_stage
from infra.store.errors import StoreError
from infra.store.lake import Lake
from infra.store.manifest import Part, fetch_part, marker_path
from infra.store.room import FREE_SHARE

# Copies that no reader has asked for yet. A part has at most 64 MiB of text (`infra.engine.reading`).
MOST_BYTES_AHEAD = 256 << 20


class Ahead:
    """Copies parts into `cache` while it is open. The reader calls `used` for each part that it takes."""

    def __init__(self, lake: Lake, cache: Path, parts: Iterable[Part], then: WorkUnit | None = None) -> None:
        self._lake, self._cache = lake, cache
        self._parts, self._then = list(parts), then
        self._used: set[str] = set()
        self._ahead: dict[str, int] = {}
        self._change = threading.Condition()
        self._ended = False

    def used(self, part: Part) -> None:
        """The reader takes this part now."""
        with self._change:
            self._used.add(part.sha256)
            self._ahead.pop(part.sha256, None)
            self._change.notify()

    def copy(self) -> None:
        """Copy what is needed, until it is all there or `end` was called."""
        with contextlib.suppress(StoreError, OSError):
            for part in self._parts:
                if not self._copy(part):
                    return
            if self._then is not None and _is_needed(self._then):
                for part in parts_of(self._then):
                    if not self._copy(part):
                        return

    def end(self) -> None:
        """Copy no further part."""
        with self._change:
            self._ended = True
            self._change.notify()

    def _copy(self, part: Part) -> bool:
        with self._change:
            while not self._ended and self._ahead and sum(self._ahead.values()) + part.bytes > MOST_BYTES_AHEAD:
                self._change.wait()
            if self._ended:
                return False
            if part.sha256 in self._used:
                return True
            self._ahead[part.sha256] = part.bytes
        disk = shutil.disk_usage(self._cache)
        if disk.free - part.bytes < FREE_SHARE * disk.total:
            return False
        fetch_part(self._lake, part, self._cache)
        return True


@contextlib.contextmanager
def reading_ahead(lake: Lake, cache: Path, parts: Iterable[Part], then: WorkUnit | None = None) -> Iterator[Ahead]:
    """Within the block, copy `parts`, and then those of the unit `then`, if the lake is a remote one."""
    ahead = Ahead(lake, cache, parts, then)
    if lake.local_path("") is not None:
        yield ahead
        return
    thread = threading.Thread(target=ahead.copy, name="millrace-ahead")
    thread.start()
    try:
        yield ahead
    finally:
        ahead.end()
        thread.join()


def parts_of(value: Any) -> Iterator[Part]:
    """The parts in a unit, in the order of its fields."""
    if isinstance(value, Part):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from parts_of(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from parts_of(getattr(value, field.name))


def _is_needed(unit: Any) -> bool:
    """Whether a unit has no marker yet."""
    calls = unit.calls if hasattr(unit, "calls") else (unit.call,)
    return any(unit.lake.entry(marker_path(find_stage(call.reference).name, call.key)) is None for call in calls)
