"""Verifies a checkpoint's files before training resumes from it. Each rank reads its share of them."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from model.checkpoints.manifest import Checkpoint, verify
from model.engine import Engine

Found = TypeVar("Found")


class Verification:
    """Rank 0 searches for a checkpoint and calls `verify` and then `broadcast`; the other ranks call `follow`."""

    def __init__(self, lake: Lake, engine: Engine, cache: Path) -> None:
        self._lake, self._engine, self._cache = lake, engine, cache

    def verify(self, checkpoint: Checkpoint) -> None:
        """Read all files, each rank a share. Raises NotThere or Corrupt on all ranks for a missing or changed file."""
        self._engine.gather(("verify", checkpoint))
        self._verify_share(checkpoint)

    def broadcast(self, found: Found) -> Found:
        """End the search and return `found`; `follow` returns it on the other ranks."""
        self._engine.gather(("found", found))
        return found

    def follow(self) -> object:
        """On ranks other than 0: verify the checkpoints that rank 0 asks for; return what its search found."""
        while True:
            what, value = self._engine.gather(None)[0]
            if what == "found":
                return value
            try:
                self._verify_share(value)
            except (Corrupt, NotThere):
                continue  # rank 0 gets the same error and handles it

    def _verify_share(self, checkpoint: Checkpoint) -> None:
        error: Exception | None = None
        try:
            verify(self._lake, checkpoint, self._cache, (self._engine.rank, self._engine.ranks))
        except (Corrupt, NotThere) as found:
            error = found
        for failure in self._engine.gather(error):
            if failure is not None:
                raise failure
