"""Parts, the markers that point at them, and the manifests that make artifacts of them.

A part is stored under its own sha256, so a second writer can only add an orphan. A marker, named by the key of
a piece of work, says which parts that work gave. A manifest, named by the key of a whole stage, comes last:
without it there is no artifact.

Whatever a build makes use of again is made young again (`refresh`), so that a sweep that runs at the same time
(`infra.store.garbage`) leaves it alone.
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

# Half of the grace that `infra.store.garbage` gives: what was made use of has at least the other half left.
REFRESH_SECONDS = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class Part:
    """One stored file.

    `sha256` and `bytes` are of the file; `content` is the digest of its values in row order, independent of
    how they were encoded; `name` says what it is to people (``en.sp.model``, ``crawl.warc.gz#0``).
    """

    sha256: str
    bytes: int
    rows: int
    content: str
    name: str
    suffix: str

    @property
    def path(self) -> str:
        """Where it lies in the lake."""
        return f"parts/{self.sha256[:2]}/{self.sha256}{self.suffix}"


@dataclass(frozen=True, slots=True)
class Marker:
    """The outcome of one piece of work: its parts, its account and what it cost.

    `slices` gives, for a part whose rows are about several shards, what the rows of each are.
    """

    key: str
    parts: tuple[Part, ...]
    account: Account
    seconds: float
    slices: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One artifact: what it is made of, from what, and at what cost.

    `details` holds what only some stages have to say, and is no part of the digest. Two entries are kept as long as
    the artifact: ``evidence``, the parts of inner steps that explain the result, by step; and ``markers``, the keys
    of those markers of inner steps (of the same stage) whose work a build with more input takes up again.
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
        """Where it lies in the lake."""
        return manifest_path(self.stage, self.key)

    def evidence(self, step: str) -> tuple[Part, ...]:
        """The parts that an inner step left: reduced rows, verified edges."""
        return tuple(Part(**part) for part in self.details.get("evidence", {}).get(step, ()))

    def all_parts(self) -> list[Part]:
        """Its parts, then the evidence of all its inner steps."""
        return [*self.parts, *(part for step in self.details.get("evidence", {}) for part in self.evidence(step))]

    @property
    def rows(self) -> int:
        """All rows of its parts."""
        return sum(part.rows for part in self.parts)


def artifact_digest(parts: Iterable[Part]) -> str:
    """The digest of an artifact: what its parts hold, in order, and nothing of when or where it was made."""
    return key_of([[part.name if part.rows < 0 else "", part.rows, part.content] for part in parts])


def store_part(lake: Lake, local: Path, *, name: str, rows: int, content: str, suffix: str) -> Part:
    """Store a local file under its own sha256; a whole and young copy that is already there is not written again."""
    part = Part(sha256_file(local), local.stat().st_size, rows, content, name, suffix)
    found = lake.entry(part.path)
    if found is None or found.size != part.bytes or _is_ageing(found):
        faults.reach("before_part")
        lake.upload(local, part.path)
    return part


def fetch_part(lake: Lake, part: Part, cache: Path) -> Path:
    """A verified part on this machine, to be read only: its own file in a local lake, a copy in `cache` of another's.

    Of the processes that share the folder `cache`, one fetches and verifies it while the others wait. Raises Corrupt
    when the stored bytes are not those that were written, NotThere when they are gone, and StoreFull when a copy will
    not fit.
    """
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with open(cache / f".{part.sha256}.lock", "w") as lock:
            # Let go by the system when the process dies.
            fcntl.flock(lock, fcntl.LOCK_EX)
            own = lake.local_path(part.path)
            return _copied(lake, part, cache) if own is None else _in_place(lake, part, own, cache)
    except NotThere as error:
        raise NotThere(f"{lake.uri}/{part.path} ({part.name}) is not there. {_CURE}") from error


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
    # What was verified is known by these as long as nobody writes it again.
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


_CURE = "Run `millrace verify ARTIFACT --forget` for the build or artifact it belongs to, then build again."


def marker_path(stage: str, key: str) -> str:
    """Where the marker of a piece of work lies."""
    return f"markers/{stage}/{key[:2]}/{key}.json"


def manifest_path(stage: str, key: str) -> str:
    """Where the manifest of an artifact lies."""
    return f"artifacts/{stage}/{key}.json"


def write_marker(lake: Lake, stage: str, marker: Marker) -> None:
    """Publish the outcome of a piece of work."""
    faults.reach("before_marker")
    lake.write_json(marker_path(stage, marker.key), asdict(marker))


def read_marker(lake: Lake, stage: str, key: str) -> Marker | None:
    """The outcome of a piece of work, or None when it has not been done or a part of it is gone.

    Only the store's own answer counts: when it cannot be asked, StoreUnavailable is raised.
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
    # Last, so that a sweep which began before the marker was refreshed is seen.
    if any(lake.size(part.path) != part.bytes for part in marker.parts):
        return None
    return marker


def write_manifest(lake: Lake, manifest: Manifest) -> None:
    """Publish an artifact."""
    faults.reach("before_manifest")
    lake.write_json(manifest.path, asdict(manifest))


def read_manifest(lake: Lake, stage: str, key: str, *, keep: bool = False) -> Manifest | None:
    """The artifact of a stage with that key, or None when there is none.

    With `keep`, as builds ask, it is refreshed as well: what is being built rests on it.
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
    """Write an ageing object again, with the same bytes, so that no sweep takes it; a missing one stays missing."""
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
    """The manifest whose JSON this is. Raises Corrupt when fields are missing or unknown."""
    try:
        parts = tuple(Part(**part) for part in value["parts"])
        return Manifest(**{**value, "parts": parts, "account": Account.from_json(value["account"])})
    except (KeyError, TypeError) as error:
        raise Corrupt(f"this manifest cannot be read ({error}): it was written by another version") from error
