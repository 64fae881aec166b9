"""What nothing points at any more: mark from what is in use, then sweep what is old enough.

What is kept, beside all that is younger than the grace:

- the roots, which the caller names: objects, artifacts and parts that are in use whatever their age;
- artifacts that a name points at, and young artifacts;
- of a kept artifact: its parts, its evidence, and the markers that its manifest lists with their parts;
- the parts of young markers; and the old markers that have no parts, or only kept ones.

A build makes young again whatever it makes use of (`infra.store.manifest.refresh`), when it is older than half of
`GRACE_SECONDS`. So a sweep with that grace may run beside builds that take less than half a day; a shorter grace
is for times when nothing is built. What a sweep takes with a marker is time: the work is done again when it is asked
for. It never takes a part and leaves what points at it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from infra.store.errors import NotThere
from infra.store.lake import Entry, Lake
from infra.store.manifest import REFRESH_SECONDS, Part, manifest_from_json, manifest_path, marker_path
from infra.store.names import all_names

GRACE_SECONDS = 2 * REFRESH_SECONDS
# What points comes before what is pointed at: a sweep that is killed leaves nothing dangling.
_POINTERS = ("artifacts", "markers")
_READERS = 16


@dataclass(frozen=True, slots=True)
class Sweep:
    """Objects and unfinished writes that can go, all of them last written before the POSIX time `before`."""

    entries: tuple[Entry, ...]
    kept_objects: int
    before: float

    @property
    def bytes(self) -> int:
        """All bytes of what can go; of unfinished writes, S3 does not tell them."""
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Roots:
    """What is in use whatever its age: paths of `objects`, of the manifests of `artifacts`, and of `parts`.

    `folders` are swept beside those of artifacts, markers and parts.
    """

    objects: frozenset[str] = frozenset()
    artifacts: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    folders: tuple[str, ...] = ()


FindRoots = Callable[[Lake, float], Roots]  # the lake, and the POSIX time before which an object is old


def no_roots(lake: Lake, before: float) -> Roots:
    """The roots of a lake of which only names are in use."""
    return Roots()


def plan_sweep(lake: Lake, find_roots: FindRoots = no_roots, grace_seconds: float = GRACE_SECONDS) -> Sweep:
    """All that nothing needs and that is older than the grace: artifacts, markers, parts, unfinished writes.

    Raises the store's own errors when anything cannot be listed or read: what is not seen is not taken for absent.
    """
    before = time.time() - grace_seconds
    roots = find_roots(lake, before)
    needed = _needed(lake, before, roots)
    entries: list[Entry] = []
    kept = 0
    for folder in (*roots.folders, *_POINTERS, "parts"):
        for entry in lake.list(folder):
            if entry.path in needed or entry.modified >= before:
                kept += 1
            else:
                entries.append(entry)
    entries += [entry for entry in lake.unfinished() if entry.modified < before]
    return Sweep(tuple(entries), kept, before)


def sweep(lake: Lake, planned: Sweep, find_roots: FindRoots = no_roots) -> None:
    """Delete what `plan_sweep` found, but for what has been made use of since."""
    parts: list[Entry] = []
    for entry in planned.entries:
        if entry.upload is not None:
            lake.discard(entry)
        elif entry.path.startswith("parts/"):
            parts.append(entry)
        else:
            _delete_if_old(lake, entry.path, planned.before)
    # A build may have written or refreshed what points at a part since the plan was made.
    needed = _needed(lake, planned.before, find_roots(lake, planned.before)) if parts else set()
    for entry in parts:
        if entry.path not in needed:
            _delete_if_old(lake, entry.path, planned.before)


def _delete_if_old(lake: Lake, path: str, before: float) -> None:
    found = lake.entry(path)
    if found is not None and found.modified < before:
        lake.delete(path)


def _needed(lake: Lake, before: float, roots: Roots) -> set[str]:
    """The paths of all that is kept for a reason other than its own age."""
    artifacts = {manifest_path(reference.stage, reference.key) for _, reference in all_names(lake)} | roots.artifacts
    artifacts |= {entry.path for entry in lake.list("artifacts") if entry.modified >= before}
    parts = set(roots.parts)
    markers: set[str] = set()
    for path in artifacts:
        value = _read(lake, path)
        if value is not None:
            manifest = manifest_from_json(value)
            parts |= {part.path for part in manifest.all_parts()}
            markers |= {marker_path(manifest.stage, key) for key in manifest.details.get("markers", ())}
    return set(roots.objects) | artifacts | parts | _markers(lake, before, markers, parts)


def _markers(lake: Lake, before: float, listed: set[str], parts: set[str]) -> set[str]:
    """The markers to keep, and the parts of those that are young or `listed`; `parts` are kept already."""
    kept: set[str] = set()
    undecided: dict[str, set[str]] = {}
    entries = list(lake.list("markers"))
    with ThreadPoolExecutor(_READERS) as threads:
        for entry, value in zip(entries, threads.map(lambda entry: _read(lake, entry.path), entries), strict=True):
            if value is None:
                continue
            own = {Part(**part).path for part in value["parts"]}
            if entry.modified >= before or entry.path in listed:
                kept |= {entry.path, *own}
            else:
                undecided[entry.path] = own
    return kept | {path for path, own in undecided.items() if own <= parts | kept}


def _read(lake: Lake, path: str) -> Any:
    try:
        return lake.read_json(path)
    except NotThere:
        return None
