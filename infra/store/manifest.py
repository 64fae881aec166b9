"""Parts, the markers that point to them, and the manifests that define artifacts.

A part is stored under its own sha256, so a second writer can at most add an orphan. A marker, named by the key of a
work unit, lists the parts that the unit produced. A manifest, named by the key of a whole stage, is written last:
without a manifest there is no artifact.

A build rewrites old objects that it reuses (`refresh`), so that a concurrent sweep (`infra.store.garbage`) keeps
them.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from infra.store import faults
from infra.store.digests import key_of, sha256_bytes, sha256_file
from infra.store.errors import Corrupt, NotThere, StoreFull
from infra.store.lake import Entry, Lake, store_errors
from infra.store.ledger import Account
from infra.store.room import lock_of, make_room_for
from infra.store.schema import (
    MOST,
    SHA256,
    SUFFIX,
    Component,
    Count,
    Digest,
    Range,
    Seconds,
    Suffix,
    as_json,
    read_value,
)
from infra.store.verified import has_sha256, note_sha256

_logger = logging.getLogger("millrace.store")

# Half of the grace period of `infra.store.garbage`: a reused object has at least the other half left.
REFRESH_SECONDS = 12 * 3600.0
_READERS = 16


@dataclass(frozen=True, slots=True)
class Part:
    """One stored file.

    `sha256` and `bytes` describe the file. `content` is the digest of its values in row order, independent of their
    encoding. `name` is for people (``en.sp.model``, ``crawl.warc.gz#0``). `rows` is -1 for a file without rows.

    Raises ValueError for a digest or a suffix that could lead to another file.
    """

    sha256: Digest
    bytes: Count
    rows: Annotated[int, Range(-1, MOST)]
    content: Digest
    name: str
    suffix: Suffix

    def __post_init__(self) -> None:
        if not SHA256.fits(self.sha256) or not SUFFIX.fits(self.suffix):
            raise ValueError(f"{self.sha256!r} with the suffix {self.suffix!r} cannot name a part")

    @property
    def path(self) -> str:
        """The part's path in the lake."""
        return f"parts/{self.sha256[:2]}/{self.sha256}{self.suffix}"


@dataclass(frozen=True, slots=True)
class OldSlice:
    """A slice in markers before 2026-11-29. No key of today names one, but garbage collection reads them."""

    content: Digest
    others: tuple[Count, ...]


@dataclass(frozen=True, slots=True)
class Marker:
    """The result of one work unit: its parts, its account and its run time in seconds.

    `requests` are those that a remote lake gets, with the one that writes this, and `peak` is the most memory of the
    worker, in bytes; both are 0 where they were not measured.
    `slices` holds, for a part with rows for several partitions or shards, the digest of the rows for each.
    """

    key: Digest
    parts: tuple[Part, ...]
    account: Account
    seconds: Seconds
    slices: dict[str, Digest | OldSlice] = field(default_factory=dict)
    requests: Count = 0
    peak: Count = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """One artifact: its parts, its inputs and its cost (``worker_seconds``, ``worker_requests``, ``worker_peak``).

    `details` holds stage-specific entries and does not enter the digest. Garbage collection keeps the targets of two
    entries as long as the artifact: ``evidence``, the parts of inner steps that explain the result, by step; and
    ``markers``, the keys of markers of inner steps (of the same stage) that a build with more input reuses. Documents
    have ``files``, those that were read, and ``shards``, how many parts each gave.
    """

    key: Digest
    digest: Digest
    stage: Component
    version: Count
    config: dict[str, Any]
    inputs: dict[str, str]
    libraries: dict[str, str]
    models: dict[str, str]
    parts: tuple[Part, ...]
    account: Account
    details: dict[str, Any]
    cost: dict[str, float]
    created: str

    @property
    def path(self) -> str:
        """The manifest's path in the lake."""
        return manifest_path(self.stage, self.key)

    def evidence(self, step: str) -> tuple[Part, ...]:
        """The parts that an inner step produced: reduced rows, verified edges."""
        return self._evidence().get(step, ())

    def all_parts(self) -> list[Part]:
        """The parts, followed by the evidence of all inner steps."""
        return [*self.parts, *(part for parts in self._evidence().values() for part in parts)]

    @property
    def markers(self) -> tuple[str, ...]:
        """The keys of markers of inner steps that it keeps."""
        found: tuple[str, ...] = read_value(tuple[Digest, ...], self.details.get("markers", []), self.path)
        return found

    @property
    def parts_of_files(self) -> list[int]:
        """For documents: how many parts each file gave that was read, in order. Raises Corrupt."""
        files = self.details.get("files", [])
        # Manifests before 2026-11-29 leave it to the names of their parts.
        counts: list[int] = self.details.get("shards") or list(self._named_after(files))
        if (len(counts), sum(counts)) != (len(files), len(self.parts)):
            told = f"{len(self.parts)} parts of {len(files)} files, but its files have {counts}"
            raise Corrupt(
                f"{self.path} is not what Millrace writes there: {told}. Delete it, so that it is made again."
            )
        return counts

    def _named_after(self, files: Iterable[dict[str, Any]]) -> Iterator[int]:
        first = 0
        for file in files:
            name, number = file["uri"].rpartition("/")[2], 0
            while first < len(self.parts) and self.parts[first].name == f"{name}#{number}":
                first, number = first + 1, number + 1
            yield number

    def _evidence(self) -> dict[str, tuple[Part, ...]]:
        found: dict[str, tuple[Part, ...]] = read_value(
            dict[str, tuple[Part, ...]], self.details.get("evidence", {}), self.path
        )
        return found

    @property
    def rows(self) -> int:
        """The total number of rows of the parts."""
        return sum(part.rows for part in self.parts)


def artifact_digest(parts: Iterable[Part]) -> str:
    """The digest of an artifact: the content of its parts in order, independent of when and where it was made."""
    return key_of([[part.name if part.rows < 0 else "", part.rows, part.content] for part in parts])


def store_part(lake: Lake, local: Path, *, name: str, rows: int, content: str, suffix: str) -> Part:
    """Store a local file under its own sha256, unless the lake already has a complete and young copy."""
    part = Part(sha256_file(local), local.stat().st_size, rows, content, name, suffix)
    found = lake.entry(part.path)
    if found is None or found.size != part.bytes or _is_ageing(found):
        faults.reach("before_part")
        lake.upload(local, part.path)
    return part


def read_part(lake: Lake, manifest: Manifest, part: Part) -> bytes:
    """A small part of an artifact in memory. Raises Corrupt when its bytes are not those of the manifest."""
    data = lake.read(part.path)
    if sha256_bytes(data) != part.sha256:
        where = f"{lake.uri}/{part.path} ({part.name})"
        raise Corrupt(f"{where}: its bytes changed. Run `millrace verify {manifest.key[:12]} --forget`.")
    return data


def fetch_part(lake: Lake, part: Part, cache: Path, *, make_room: bool = False) -> Path:
    """A verified part as a local read-only file: the stored file of a local lake, or a copy in `cache` of a remote one.

    One of the processes that share the folder `cache` fetches and verifies the part while the others wait. A file that
    this user has verified on this machine is not read again while it stays as it is. Raises Corrupt when the stored
    bytes have changed, NotThere when they no longer exist, and StoreFull when the copy does not fit.

    With `make_room`, copies that nobody asked for in the last minutes are deleted when the disk gets full.
    """
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Named by a digest of our own, whatever the part says.
    name = sha256_bytes(part.sha256.encode())
    try:
        lock = os.open(cache / lock_of(name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            # The kernel releases the lock when the process dies.
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.utime(lock)  # the time of the last use
            own = lake.local_path(part.path)
            return _copied(lake, part, cache, name, make_room) if own is None else _in_place(lake, part, own, cache)
        finally:
            os.close(lock)
    except NotThere as error:
        raise NotThere(f"{lake.uri}/{part.path} ({part.name}) does not exist. {_CURE}") from error


def _copied(lake: Lake, part: Part, cache: Path, name: str, make_room: bool) -> Path:
    for left in cache.glob(f"*.unverified-{name}-*"):  # by a process that was killed: this one holds the lock
        left.unlink(missing_ok=True)
    local = cache / f"{part.sha256}{part.suffix}"
    if local.exists() and local.stat().st_size == part.bytes and has_sha256(local, part.sha256, cache):
        return local
    if make_room:
        make_room_for(part.bytes, cache)
    free = shutil.disk_usage(cache).free
    if free < part.bytes:
        raise StoreFull(
            f"{cache} has {free:,} bytes free, and {part.name} from {lake.uri} takes {part.bytes:,}: free some, or "
            "name another folder"
        )
    unverified = cache / f".unverified-{name}-{uuid.uuid4().hex}"
    try:
        lake.download(part.path, unverified)
        _require(sha256_file(unverified) == part.sha256, lake, part)
        os.replace(unverified, local)
        note_sha256(local, part.sha256, cache)
    finally:
        unverified.unlink(missing_ok=True)
    return local


def _in_place(lake: Lake, part: Part, own: Path, cache: Path) -> Path:
    with store_errors(str(own)):
        _require(has_sha256(own, part.sha256, cache), lake, part)
    return own


def _require(same: bool, lake: Lake, part: Part) -> None:
    if not same:
        raise Corrupt(f"{lake.uri}/{part.path} ({part.name}): its bytes changed after it was written. {_CURE}")


_CURE = "Run `millrace verify ARTIFACT --forget` for its build or artifact, then build again."


def marker_path(stage: str, key: str) -> str:
    """The path of the marker of a work unit."""
    return f"markers/{stage}/{key[:2]}/{key}.json"


def manifest_path(stage: str, key: str) -> str:
    """The path of the manifest of an artifact."""
    return f"artifacts/{stage}/{key}.json"


def write_marker(lake: Lake, stage: str, marker: Marker) -> None:
    """Publish the result of a work unit."""
    faults.reach("before_marker")
    lake.write_json(marker_path(stage, marker.key), as_json(marker))


def read_marker(lake: Lake, stage: str, key: str) -> Marker | None:
    """The result of a work unit, or None when the unit has not run or one of its parts no longer exists.

    A damaged marker is none: its work is done again. Raises StoreUnavailable when the store does not answer; None
    always comes from an answer of the store.
    """
    path = marker_path(stage, key)
    try:
        value = _read_to_keep(lake, path)
        if value is None:
            return None
        marker = marker_from_json(value, f"{lake.uri}/{path}")
        if marker.key != key:
            raise Corrupt(f"{lake.uri}/{path} is the marker of another key, {marker.key[:12]}")
    except Corrupt as error:
        _logger.warning("%s: its work is done again", error)
        return None
    # Checked last, to notice a sweep that began before the marker was refreshed.
    return None if missing_parts(lake, marker.parts) else marker


def marker_from_json(value: Any, where: str) -> Marker:
    """The marker that an object at `where` holds. Raises Corrupt."""
    marker: Marker = read_value(Marker, value, where)
    return marker


def missing_parts(lake: Lake, parts: Iterable[Part]) -> list[Part]:
    """The parts that the lake lacks, or has with another size. One request for each."""
    wanted = list(parts)
    if len(wanted) < 2 or lake.local_path("") is not None:
        return [part for part in wanted if lake.size(part.path) != part.bytes]
    with ThreadPoolExecutor(_READERS) as threads:
        sizes = threads.map(lambda part: lake.size(part.path), wanted)
        return [part for part, size in zip(wanted, sizes, strict=True) if size != part.bytes]


def write_manifest(lake: Lake, manifest: Manifest) -> None:
    """Publish an artifact."""
    faults.reach("before_manifest")
    lake.write_json(manifest.path, as_json(manifest))


def read_manifest(lake: Lake, stage: str, key: str, *, keep: bool = False) -> Manifest | None:
    """The artifact of a stage with that key, or None when it does not exist. Raises Corrupt for a damaged manifest.

    Builds pass `keep`, which also refreshes the manifest, because their result depends on it. For them a damaged
    manifest is none: it is made again.
    """
    path = manifest_path(stage, key)
    if not keep:
        try:
            return manifest_at(lake, path)
        except NotThere:
            return None
    try:
        value = _read_to_keep(lake, path)
        return None if value is None else manifest_from_json(value, lake, path)
    except Corrupt as error:
        _logger.warning("%s: it is made again", error)
        return None


def manifest_at(lake: Lake, path: str) -> Manifest:
    """The manifest at that path. Raises NotThere, and Corrupt when it is damaged or belongs to another path."""
    return manifest_from_json(lake.read_json(path), lake, path)


def all_manifests(
    lake: Lake, folder: str = "artifacts", damaged: Callable[[str, Corrupt], None] | None = None
) -> Iterator[Manifest]:
    """The manifests below a folder. Calls `damaged(path, error)` for those that cannot be read, else logs them."""
    for entry in lake.list(folder):
        try:
            yield manifest_at(lake, entry.path)
        except NotThere:
            continue  # deleted since the listing
        except Corrupt as error:
            if damaged is None:
                _logger.warning("%s", error)
            else:
                damaged(entry.path, error)


def refresh(lake: Lake, path: str) -> None:
    """Rewrite an ageing object with the same bytes, so that no sweep deletes it. Ignores a missing object."""
    found = lake.entry(path)
    if found is not None and _is_ageing(found):
        lake.write(path, lake.read(path))


def _read_to_keep(lake: Lake, path: str) -> Any:
    try:
        value = lake.read_json(path)
        refresh(lake, path)
    except NotThere:
        return None
    return value


def _is_ageing(entry: Entry) -> bool:
    return time.time() - entry.modified > REFRESH_SECONDS


def manifest_from_json(value: Any, lake: Lake, path: str) -> Manifest:
    """The manifest that the object at `path` holds. Raises Corrupt."""
    where = f"{lake.uri}/{path}"
    manifest: Manifest = read_value(Manifest, value, where)
    read_value(_Details, {name: manifest.details[name] for name in _KEPT if name in manifest.details}, where)
    if manifest.path != path:
        raise Corrupt(f"{where} is the manifest of {manifest.path}: someone moved it. Delete it.")
    return manifest


_KEPT = ("evidence", "markers", "files", "shards")


@dataclass(frozen=True, slots=True)
class _ReadFile:
    """An entry of the details ``files``: a file from which documents were read."""

    uri: str
    size: Count
    sha256: Digest


@dataclass(frozen=True, slots=True)
class _Details:
    """The details of a manifest that more than one stage has."""

    evidence: dict[str, tuple[Part, ...]] = field(default_factory=dict)
    markers: tuple[Digest, ...] = ()
    files: tuple[_ReadFile, ...] = ()
    shards: tuple[Count, ...] = ()
