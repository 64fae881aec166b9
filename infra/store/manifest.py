"""Parts, the markers that point to them, and the manifests that define artifacts.

A part is stored under its own sha256, so a second writer can at most add an orphan. A marker, named by the key of a
work unit, lists the parts that the unit produced. A manifest, named by the key of a whole stage, is written last:
without a manifest there is no artifact.

A build rewrites old objects that it reuses (`refresh`), so that a concurrent sweep (`infra.store.garbage`) keeps
them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from infra.store import faults
from infra.store.digests import key_of, sha256_file
from infra.store.errors import Corrupt, NotThere, StoreFull
from infra.store.lake import Entry, Lake, store_errors
from infra.store.ledger import Account

# Half of the grace period of `infra.store.garbage`: a reused object has at least the other half left.
REFRESH_SECONDS = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class Part:
    """One stored file.

    `sha256` and `bytes` describe the file. `content` is the digest of its values in row order, independent of their
    encoding. `name` is for people (``en.sp.model``, ``crawl.warc.gz#0``).
    """

    sha256: str
    bytes: int
    rows: int
    content: str
    name: str
    suffix: str

    @property
    def path(self) -> str:
        """The part's path in the lake."""
        return f"parts/{self.sha256[:2]}/{self.sha256}{self.suffix}"


@dataclass(frozen=True, slots=True)
class Marker:
    """The result of one work unit: its parts, its account and its run time in seconds.

    `slices` describes, for a part with rows for several shards, the rows of each shard.
    """

    key: str
    parts: tuple[Part, ...]
    account: Account
    seconds: float
    slices: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One artifact: its parts, its inputs and its cost.

    `details` holds stage-specific entries and does not enter the digest. Garbage collection keeps the targets of two
    entries as long as the artifact: ``evidence``, the parts of inner steps that explain the result, by step; and
    ``markers``, the keys of markers of inner steps (of the same stage) that a build with more input reuses.
    """

    key: str
    digest: str
    stage: str
    version: int
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
        return tuple(Part(**part) for part in self.details.get("evidence", {}).get(step, ()))

    def all_parts(self) -> list[Part]:
        """The parts, followed by the evidence of all inner steps."""
        return [*self.parts, *(part for step in self.details.get("evidence", {}) for part in self.evidence(step))]

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


def fetch_part(lake: Lake, part: Part, cache: Path) -> Path:
    """A verified part as a local read-only file: the stored file of a local lake, or a copy in `cache` of a remote one.

    One of the processes that share the folder `cache` fetches and verifies the part while the others wait. Raises
    Corrupt when the stored bytes have changed, NotThere when they no longer exist, and StoreFull when the copy does
    not fit.
    """
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with open(cache / f".{part.sha256}.lock", "w") as lock:
            # The kernel releases the lock when the process dies.
            fcntl.flock(lock, fcntl.LOCK_EX)
            own = lake.local_path(part.path)
            return _copied(lake, part, cache) if own is None else _in_place(lake, part, own, cache)
    except NotThere as error:
        raise NotThere(f"{lake.uri}/{part.path} ({part.name}) does not exist. {_CURE}") from error


def _copied(lake: Lake, part: Part, cache: Path) -> Path:
    local = cache / f"{part.sha256}{part.suffix}"
    if local.exists() and local.stat().st_size == part.bytes:
        return local
    free = shutil.disk_usage(cache).free
    if free < part.bytes:
        raise StoreFull(
            f"{cache} has {free:,} bytes free, and {part.name} from {lake.uri} takes {part.bytes:,}: free some, or "
            "name another folder"
        )
    unverified = cache / f".unverified-{uuid.uuid4().hex}"
    try:
        lake.download(part.path, unverified)
        _verify(lake, part, unverified)
        os.replace(unverified, local)
    finally:
        unverified.unlink(missing_ok=True)
    return local


def _in_place(lake: Lake, part: Part, own: Path, cache: Path) -> Path:
    with store_errors(str(own)):
        found = own.stat()
    # These values identify the verified file until it is written again.
    seen = json.dumps([found.st_ino, found.st_size, found.st_mtime_ns])
    verified = cache / f".{part.sha256}.verified"
    if not (verified.exists() and verified.read_text(encoding="utf-8") == seen):
        _verify(lake, part, own)
        verified.write_text(seen, encoding="utf-8")
    return own


def _verify(lake: Lake, part: Part, local: Path) -> None:
    found = sha256_file(local)
    if found != part.sha256:
        raise Corrupt(
            f"{lake.uri}/{part.path} ({part.name}) has sha256 {found}: its bytes changed after it was written. {_CURE}"
        )


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
    lake.write_json(marker_path(stage, marker.key), asdict(marker))


def read_marker(lake: Lake, stage: str, key: str) -> Marker | None:
    """The result of a work unit, or None when the unit has not run or one of its parts no longer exists.

    Raises StoreUnavailable when the store does not answer; None always comes from an answer of the store.
    """
    value = _read_to_keep(lake, marker_path(stage, key))
    if value is None:
        return None
    marker = Marker(
        key=value["key"],
        parts=tuple(Part(**part) for part in value["parts"]),
        account=Account.from_json(value["account"]),
        seconds=value["seconds"],
        slices=value["slices"],
    )
    # Checked last, to notice a sweep that began before the marker was refreshed.
    if any(lake.size(part.path) != part.bytes for part in marker.parts):
        return None
    return marker


def write_manifest(lake: Lake, manifest: Manifest) -> None:
    """Publish an artifact."""
    faults.reach("before_manifest")
    lake.write_json(manifest.path, asdict(manifest))


def read_manifest(lake: Lake, stage: str, key: str, *, keep: bool = False) -> Manifest | None:
    """The artifact of a stage with that key, or None when it does not exist.

    Builds pass `keep`, which also refreshes the manifest, because their result depends on it.
    """
    path = manifest_path(stage, key)
    if keep:
        value = _read_to_keep(lake, path)
        return None if value is None else manifest_from_json(value)
    try:
        return manifest_from_json(lake.read_json(path))
    except NotThere:
        return None


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


def manifest_from_json(value: dict[str, Any]) -> Manifest:
    """Parse a manifest. Raises Corrupt when fields are missing or unknown."""
    try:
        parts = tuple(Part(**part) for part in value["parts"])
        return Manifest(**{**value, "parts": parts, "account": Account.from_json(value["account"])})
    except (KeyError, TypeError) as error:
        raise Corrupt(f"this manifest cannot be read ({error}): it was written by another version") from error
