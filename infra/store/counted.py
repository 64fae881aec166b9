"""A lake that counts the requests that a remote store would get, also where it is a local folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.store.lake import Entry, Lake

READ, WRITE, LOOK = "read", "write", "look"


@dataclass(frozen=True)
class CountedLake(Lake):
    """Counts `requests` of this process as S3 bills them: reads (GET), writes (PUT) and looks (HEAD and LIST).

    A part is copied once to a machine, and then read there: so its first use counts, and no later one.
    """

    requests: Counter[str] = field(default_factory=Counter, compare=False, repr=False)
    _copied: set[str] = field(default_factory=set, compare=False, repr=False)

    def read(self, path: str) -> bytes:
        self.requests[READ] += 1
        return super().read(path)

    def write(self, path: str, data: bytes) -> None:
        self.requests[WRITE] += 1
        super().write(path, data)

    def upload(self, local: Path, path: str) -> None:
        self.requests[WRITE] += 1
        super().upload(local, path)

    def download(self, path: str, local: Path) -> None:
        self.requests[READ] += 1
        super().download(path, local)

    def entry(self, path: str) -> Entry | None:
        self.requests[LOOK] += 1
        return super().entry(path)

    def list(self, prefix: str) -> Iterator[Entry]:
        self.requests[LOOK] += 1
        return super().list(prefix)

    def local_path(self, path: str) -> Path | None:
        found = super().local_path(path)
        if found is not None and path.startswith("parts/") and path not in self._copied:
            self._copied.add(path)
            self.requests[READ] += 1
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        # A child process gets the lake alone; what it asks for is not counted.
        return Lake, (self.uri,)
