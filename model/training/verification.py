"""Before training goes on from a checkpoint, its files are read: each rank reads its share of them."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from model.checkpoints.manifest import Checkpoint, verify
from model.engine import Engine

Found = TypeVar("Found")


class Verification:
    """The first rank looks for a checkpoint and calls `verify`, then `broadcast`; the others `follow` meanwhile."""

    def __init__(self, lake: Lake, engine: Engine, cache: Path) -> None:
        self._lake, self._engine, self._cache = lake, engine, cache

    def verify(self, checkpoint: Checkpoint) -> None:
        """Raises NotThere for a missing file and Corrupt for one with other bytes, whichever rank has met it."""
        self._engine.gather(("verify", checkpoint))
        self._verify_share(checkpoint)

    def broadcast(self, found: Found) -> Found:
        """End the search: `follow` gives `found` on the other ranks."""
        self._engine.gather(("found", found))
        return found

    def follow(self) -> object:
        """On the other ranks: read what is asked for until the first rank has found something, and give that."""
        while True:
            what, value = self._engine.gather(None)[0]
            if what == "found":
                return value
            try:
                self._verify_share(value)
            except (Corrupt, NotThere):
                continue  # the first rank has the same error, and what to do about it

    def _verify_share(self, checkpoint: Checkpoint) -> None:
        error: Exception | None = None
        try:
            verify(self._lake, checkpoint, self._cache, (self._engine.rank, self._engine.ranks))
        except (Corrupt, NotThere) as found:
            error = found
        for failure in self._engine.gather(error):
            if failure is not None:
                raise failure
