"""What nothing points at any more: mark from names, builds and runs, then sweep what is old enough.

Only builds that a name points at, and runs, keep their artifacts. A part younger than `grace_seconds` is never
swept: a build under way may be about to point at it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from infra.store.errors import NotThere
from infra.store.lake import Entry, Lake
from infra.store.manifest import Part, read_manifest
from infra.store.names import all_names

GRACE_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Sweep:
    """Objects that can go, and what they weigh."""

    entries: tuple[Entry, ...]
    kept_objects: int

    @property
    def bytes(self) -> int:
        """All bytes of the objects that can go."""
        return sum(entry.size for entry in self.entries)


def plan_sweep(lake: Lake, grace_seconds: float = GRACE_SECONDS) -> Sweep:
    """Everything under parts, markers, artifacts and builds that no name and no run needs, older than the grace."""
    kept = set(_needed(lake))
    old = time.time() - grace_seconds
    entries: list[Entry] = []
    count = 0
    for folder in ("parts", "markers", "artifacts", "builds"):
        for entry in lake.list(folder):
            count += 1
            if entry.path not in kept and entry.modified < old:
                entries.append(entry)
    return Sweep(tuple(entries), count - len(entries))


def sweep(lake: Lake, planned: Sweep) -> None:
    """Delete what `plan_sweep` found; what points before what is pointed at, so that nothing dangles."""
    order = {"builds": 0, "artifacts": 1, "markers": 2, "parts": 3}
    for entry in sorted(planned.entries, key=lambda entry: order[entry.path.partition("/")[0]]):
        lake.delete(entry.path)


def _needed(lake: Lake) -> Iterator[str]:
    parts: set[str] = set()
    for _, reference in all_names(lake):
        try:
            record = lake.read_json(f"builds/{reference.key}.json")
        except NotThere:
            record = {"artifacts": {"named": [reference.stage, reference.key]}}
        yield f"builds/{reference.key}.json"
        for stage, key in record["artifacts"].values():
            yield f"artifacts/{stage}/{key}.json"
            manifest = read_manifest(lake, stage, key)
            if manifest is not None:
                parts |= {part.path for part in manifest.parts}
                parts |= {
                    part.path for step in manifest.details.get("evidence", {}) for part in manifest.evidence(step)
                }
    for entry in lake.list("runs"):
        if entry.path.endswith("/run.json"):
            for source in lake.read_json(entry.path)["sources"]:
                parts |= {Part(**source[name]).path for name in ("bin", "idx")}
    yield from parts
    # A marker is worth keeping exactly as long as all that it points at is kept.
    for entry in lake.list("markers"):
        marker = lake.read_json(entry.path)
        paths = {Part(**part).path for part in marker["parts"]}
        if paths and paths <= parts:
            yield entry.path
