"""Garbage collection of the lake: mark everything in use, then sweep unmarked objects older than the grace period.

Kept, in addition to every object younger than the grace period:

- the roots that the caller names: objects, artifacts and parts that are in use at any age;
- artifacts that a name points to, and young artifacts;
- for each kept artifact: its parts, its evidence, and the markers that its manifest lists, with their parts;
- the parts of young markers; and old markers that have no parts, or only kept parts.

A build rewrites every object it uses that is older than half of `GRACE_SECONDS` (`infra.store.manifest.refresh`). A
sweep with this grace period can therefore run concurrently with builds that take less than 12 hours. Use a shorter
one only while no build runs. Deleting a marker costs only time: the next build repeats its work. A sweep never
deletes a part and keeps an object that points to it.
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
# Pointers are deleted before their targets, so a killed sweep leaves no dangling pointer.
_POINTERS = ("artifacts", "markers")
_READERS = 16


@dataclass(frozen=True, slots=True)
class Sweep:
    """Objects and unfinished writes to delete, all last written before the POSIX time `before`."""

    entries: tuple[Entry, ...]
    kept_objects: int
    before: float

    @property
    def bytes(self) -> int:
        """Total bytes to delete. S3 does not report the size of unfinished writes; they count as 0."""
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Roots:
    """Objects in use at any age: paths of `objects`, of the manifests of `artifacts`, and of `parts`.

    `folders` are swept in addition to those of artifacts, markers and parts.
    """

    objects: frozenset[str] = frozenset()
    artifacts: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    folders: tuple[str, ...] = ()


FindRoots = Callable[[Lake, float], Roots]  # the lake, and the POSIX time before which an object is old


def no_roots(lake: Lake, before: float) -> Roots:
    """No roots: only names mark artifacts as in use."""
    return Roots()


def plan_sweep(lake: Lake, find_roots: FindRoots = no_roots, grace_seconds: float = GRACE_SECONDS) -> Sweep:
    """Find artifacts, markers, parts and unfinished writes that are unused and older than the grace period.

    Raises the store's errors when a listing or read fails: an unreadable object is not treated as absent.
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
    """Delete what `plan_sweep` found, except objects that a build has used since."""
    parts: list[Entry] = []
    for entry in planned.entries:
        if entry.upload is not None:
            lake.discard(entry)
        elif entry.path.startswith("parts/"):
            parts.append(entry)
        else:
            _delete_if_old(lake, entry.path, planned.before)
    # Since the plan was made, a build may have written or refreshed an object that points to a part.
    needed = _needed(lake, planned.before, find_roots(lake, planned.before)) if parts else set()
    for entry in parts:
        if entry.path not in needed:
            _delete_if_old(lake, entry.path, planned.before)


def _delete_if_old(lake: Lake, path: str, before: float) -> None:
    found = lake.entry(path)
    if found is not None and found.modified < before:
        lake.delete(path)


def _needed(lake: Lake, before: float, roots: Roots) -> set[str]:
    """The paths of all objects that are kept for a reason other than their age."""
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
    """The paths of markers to keep, and of the parts of young or `listed` markers; `parts` are already kept."""
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
