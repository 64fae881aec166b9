"""Verifies artifacts: reads every part and compares it with its sha256 and its content digest.

Nothing that was verified before counts here: a disk may lose what it once held. Who can write every object of a lake
can exchange all of them consistently; only signatures would tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from infra.store.digests import sha256_file
from infra.store.errors import Corrupt, NotThere, StoreDenied, StoreError, StoreFull, StoreUnavailable
from infra.store.lake import Lake, store_errors
from infra.store.manifest import Manifest, Part, all_manifests, artifact_digest, marker_from_json
from infra.tables import ContentDigest, read_row_groups


@dataclass(frozen=True, slots=True)
class Fault:
    """A part that does not match its manifest, or, with the path of a manifest or record, one that is wrong itself."""

    part: str
    path: str
    problem: str


def verify_artifact(
    lake: Lake, manifest: Manifest, cache: Path, progress: Callable[[str, int, int], None]
) -> list[Fault]:
    """Read every part of an artifact, including its evidence; returns the faults."""
    faults: list[Fault] = []
    parts = manifest.all_parts()
    for number, part in enumerate(parts):
        problem = _problem(lake, part, cache)
        if problem is not None:
            faults.append(Fault(part.name, part.path, problem))
        progress(manifest.stage, number + 1, len(parts))
    if artifact_digest(manifest.parts) != manifest.digest:
        faults.append(Fault("", manifest.path, "the manifest's digest does not match the parts it lists"))
    return faults


def forget_artifact(lake: Lake, manifest: Manifest, faults: list[Fault]) -> list[str]:
    """Delete the manifest, the broken parts and everything that points to them, so that the next build remakes them.

    An artifact over several sources lists the parts of those sources, so this reads the manifests of all stages.
    Where the manifest itself is wrong, the markers of its parts go too: they may list the same exchanged parts. Damaged
    manifests and markers go as well; returns a line for each.
    """
    damaged: dict[str, str] = {}
    lake.delete(manifest.path)
    listed = {part.path for part in manifest.all_parts()}
    broken = listed & {fault.path for fault in faults}
    suspect = listed if any(fault.path == manifest.path for fault in faults) else broken
    for other in all_manifests(lake, damaged=lambda path, error: damaged.update({path: str(error)})):
        if broken & {part.path for part in other.all_parts()}:
            lake.delete(other.path)
    for entry in lake.list("markers"):
        try:
            marker = marker_from_json(lake.read_json(entry.path), f"{lake.uri}/{entry.path}")
        except NotThere:
            continue
        except Corrupt as error:
            damaged[entry.path] = str(error)
            continue
        if suspect & {part.path for part in marker.parts}:
            lake.delete(entry.path)
    for path in (*damaged, *broken):
        lake.delete(path)
    return list(damaged.values())


def _problem(lake: Lake, part: Part, cache: Path) -> str | None:
    cache.mkdir(parents=True, exist_ok=True)
    # The temporary folder deletes a copy; a part that is read in place in a local lake stays.
    with TemporaryDirectory(dir=cache) as folder:
        try:
            local = lake.local_path(part.path)
            if local is None:
                local = Path(folder) / "part"
                lake.download(part.path, local)
            with store_errors(str(local)):
                found = sha256_file(local)
        except NotThere:
            return "it does not exist"
        except (StoreDenied, StoreFull, StoreUnavailable):
            raise
        except StoreError as error:  # a link, or no file
            return str(error)
        if found != part.sha256 or local.stat().st_size != part.bytes:
            return "its bytes changed after it was written"
        if part.rows < 0:
            return None if part.content == part.sha256 else "its content digest is not that of its bytes"
        return _wrong_values(part, local) if part.suffix == ".parquet" else None


def _wrong_values(part: Part, local: Path) -> str | None:
    digest: ContentDigest | None = None
    try:
        for group in read_row_groups(local):
            digest = digest or ContentDigest(group.schema)
            digest.update(group)
    except (pa.ArrowException, OSError, ValueError) as error:
        return f"it cannot be read as Parquet: {error}"
    rows = 0 if digest is None else digest.rows
    if rows != part.rows:
        return f"it has {rows} rows, not {part.rows}"
    if digest is not None and digest.hexdigest() != part.content:
        return "its values are not the ones that were written"
    return None
