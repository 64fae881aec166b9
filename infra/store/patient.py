"""A lake whose operations wait for a store that does not answer, for processes that are costly to start again."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

from infra.store.errors import StoreUnavailable
from infra.store.lake import Entry, Lake

# DeepSpeed and NCCL let ranks wait 10 minutes for one that is late. The last try, of some 2 minutes, must end before.
PATIENCE_SECONDS = 360.0
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0

T = TypeVar("T")


@dataclass(frozen=True)
class PatientLake(Lake):
    """A lake that repeats each operation until the store answers, at most for `patience_seconds`.

    After that it raises the last StoreUnavailable. All operations of a lake can be repeated. Each outage is reported
    on stderr once, with its error, and again when it has ended.
    """

    patience_seconds: float = PATIENCE_SECONDS

    def impatient(self) -> Lake:
        """The same lake, whose operations raise StoreUnavailable after two minutes at most."""
        return Lake(self.uri)

    def read(self, path: str) -> bytes:
        return self._wait(lambda: self.impatient().read(path))

    def write(self, path: str, data: bytes) -> None:
        self._wait(lambda: self.impatient().write(path, data))

    def upload(self, local: Path, path: str) -> None:
        self._wait(lambda: self.impatient().upload(local, path))

    def download(self, path: str, local: Path) -> None:
        self._wait(lambda: self.impatient().download(path, local))

    def entry(self, path: str) -> Entry | None:
        return self._wait(lambda: self.impatient().entry(path))

    def list(self, prefix: str) -> Iterator[Entry]:
        yield from self._wait(lambda: [*self.impatient().list(prefix)])

    def unfinished(self) -> Iterator[Entry]:
        yield from self._wait(lambda: [*self.impatient().unfinished()])

    def discard(self, unfinished: Entry) -> None:
        self._wait(lambda: self.impatient().discard(unfinished))

    def delete(self, path: str) -> None:
        self._wait(lambda: self.impatient().delete(path))

    def _wait(self, operation: Callable[[], T]) -> T:
        began = monotonic()
        pause = _FIRST_WAIT_SECONDS
        while True:
            try:
                result = operation()
            except StoreUnavailable as error:
                left = began + self.patience_seconds - monotonic()
                if left <= 0:
                    raise
                if pause == _FIRST_WAIT_SECONDS:
                    _say(f"{error}; trying again for {left:.0f} s")
                # With jitter: many ranks would otherwise come back at the same moment.
                sleep(min(left, pause * random.uniform(0.5, 1.0)))
                pause = min(2 * pause, _LONGEST_WAIT_SECONDS)
            else:
                if pause > _FIRST_WAIT_SECONDS:
                    _say(f"{self.uri} answers again after {monotonic() - began:.0f} s")
                return result


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
