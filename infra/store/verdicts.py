"""Verdicts that depend on the machine: records that exceeded the budget of a worker, by their digest.

They stay in the lake, so that another build in it, on whatever machine, gives the same documents.
"""

from __future__ import annotations

from typing import Any

from infra.store.lake import Lake

FOLDER = "verdicts"


class Verdicts:
    """The verdicts of one stage with one config; `identity` is the key of both. Costs one listing."""

    def __init__(self, lake: Lake, stage: str, identity: str) -> None:
        self._lake = lake
        self._folder = f"{FOLDER}/{stage}/{identity}"
        self._digests = {entry.path.rpartition("/")[2].removesuffix(".json") for entry in lake.list(self._folder)}

    def __bool__(self) -> bool:
        return bool(self._digests)

    def __contains__(self, digest: str) -> bool:
        return digest in self._digests

    def add(self, digest: str, found: dict[str, Any]) -> None:
        """Keep the verdict of a record, unless it is known; `found` says for people where it is and what happened."""
        if digest not in self._digests:
            self._lake.write_json(f"{self._folder}/{digest}.json", found)
            self._digests.add(digest)
