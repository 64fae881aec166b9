"""Garbage collection of the lake: mark everything in use, then sweep unmarked objects older than the grace period.

Kept, in addition to every object younger than the grace period:

- the roots that the caller names: objects, artifacts and parts that are in use at any age;
- artifacts that a name points to, and young artifacts;
- for each kept artifact: its parts, its evidence, and the markers that its manifest lists, with their parts;
- the parts of young markers; and old markers that have no parts, or only kept parts.

A build rewrites every object it uses that is older than half of `GRACE_SECONDS` (`infra.store.manifest.refresh`). A
sweep with this grace period can therefore run concurrently with builds that take less than 12 hours. Use a shorter
one only while no build runs: a sweep refuses to while a build holds a lease. Deleting a marker costs only time: the
next build repeats its work. A sweep never deletes a part and keeps an object that points to it.

Ages are told by the store's clock. A sweep and a build refuse to work where this machine's differs
(`infra.store.clock`): it would take old objects for young ones.

A damaged marker or manifest is reported, and goes when it is old. The markers of the stage of a damaged manifest that
is in use stay, so that a build makes it again from them. A damaged name, record or run ends the sweep, because what it
needs is unknown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from infra.store.clock import FOLDER as CLOCK
from infra.store.clock import store_time
from infra.store.errors import Corrupt, NotThere, StoreError
from infra.store.lake import Entry, Lake
from infra.store.lease import held_leases
from infra.store.manifest import (
    REFRESH_SECONDS,
    Marker,
    manifest_at,
    manifest_path,
    marker_from_json,
    marker_path,
)
from infra.store.names import all_names

GRACE_SECONDS = 2 * REFRESH_SECONDS
# Pointers are deleted before their targets, so a killed sweep leaves no dangling pointer.
_POINTERS = ("artifacts", "markers")
_READERS = 16


@dataclass(frozen=True, slots=True)
class Sweep:
    """Objects and unfinished writes to delete, all last written before the POSIX time `before`.

    `damaged` has a line for each marker and manifest that cannot be read.
    """

    entries: tuple[Entry, ...]
    kept_objects: int
    before: float
    damaged: tuple[str, ...] = ()

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

    Raises the store's errors when a listing or read fails: an unreadable object is not treated as absent. Raises
    StoreError when the clocks differ, and for a shorter grace period than `GRACE_SECONDS` while a build holds a lease.
    """
    if grace_seconds < GRACE_SECONDS and (running := held_leases(lake)):
        raise StoreError(
            f"a build is making {running[0]} in {lake.uri}: a sweep beside it needs a grace period of "
            f"{GRACE_SECONDS / 3600:.0f} hours. Wait until it ends, or keep younger objects."
        )
    before = store_time(lake) - grace_seconds
    damaged: dict[str, str] = {}
    roots = find_roots(lake, before)
    needed = _needed(lake, before, roots, damaged)
    entries: list[Entry] = []
    kept = 0
    for folder in (*roots.folders, *_POINTERS, "parts", CLOCK):
        for entry in lake.list(folder):
            if entry.path in needed or entry.modified >= before:
                kept += 1
            else:
                entries.append(entry)
    entries += [entry for entry in lake.unfinished() if entry.modified < before]
    return Sweep(tuple(entries), kept, before, tuple(damaged.values()))


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
    needed = _needed(lake, planned.before, find_roots(lake, planned.before), {}) if parts else set()
    for entry in parts:
        if entry.path not in needed:
            _delete_if_old(lake, entry.path, planned.before)


def _delete_if_old(lake: Lake, path: str, before: float) -> None:
    found = lake.entry(path)
    if found is not None and found.modified < before:
        lake.delete(path)


def _needed(lake: Lake, before: float, roots: Roots, damaged: dict[str, str]) -> set[str]:
    """The paths of all objects that are kept for a reason other than their age. Adds to `damaged`, by path."""
    artifacts = {manifest_path(reference.stage, reference.key) for _, reference in all_names(lake)} | roots.artifacts
    artifacts |= {entry.path for entry in lake.list("artifacts") if entry.modified >= before}
    parts = set(roots.parts)
    markers: set[str] = set()
    stages: set[str] = set()
    for path in artifacts:
        try:
            manifest = manifest_at(lake, path)
        except NotThere:
            continue
        except Corrupt as error:
            damaged[path] = str(error)
            stages.add(path.split("/")[1])
            continue
        parts |= {part.path for part in manifest.all_parts()}
        markers |= {marker_path(manifest.stage, key) for key in manifest.markers}
    return set(roots.objects) | artifacts | parts | _markers(lake, before, markers, parts, stages, damaged)


def _markers(
    lake: Lake, before: float, listed: set[str], parts: set[str], stages: set[str], damaged: dict[str, str]
) -> set[str]:
    """The paths of markers to keep, and of the parts of young and `listed` markers, and of those of `stages`.

    `parts` are already kept.
    """
    kept: set[str] = set()
    undecided: dict[str, set[str]] = {}
    entries = list(lake.list("markers"))
    with ThreadPoolExecutor(_READERS) as threads:
        for entry, value in zip(entries, threads.map(lambda entry: _marker(lake, entry.path), entries), strict=True):
            if isinstance(value, Corrupt):
                damaged[entry.path] = str(value)
            if not isinstance(value, Marker):
                continue
            own = {part.path for part in value.parts}
            if entry.modified >= before or entry.path in listed or entry.path.split("/")[1] in stages:
                kept |= {entry.path, *own}
            else:
                undecided[entry.path] = own
    return kept | {path for path, own in undecided.items() if own <= parts | kept}


def _marker(lake: Lake, path: str) -> Marker | Corrupt | None:
    with contextlib.suppress(NotThere):
        try:
            marker = marker_from_json(lake.read_json(path), f"{lake.uri}/{path}")
        except Corrupt as error:
            return error
        if path == marker_path(path.split("/")[1], marker.key):
            return marker
        return Corrupt(f"{lake.uri}/{path} is the marker of another key, {marker.key[:12]}")
    return None
