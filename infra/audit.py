"""Verifies artifacts: reads every part and compares it with its sha256 and its content digest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from infra.store.manifest import Manifest, Part, artifact_digest, fetch_part, manifest_from_json
from infra.tables import ContentDigest, read_row_groups


@dataclass(frozen=True, slots=True)
class Fault:
    """A part that does not match its manifest."""

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


def forget_artifact(lake: Lake, manifest: Manifest, faults: list[Fault]) -> None:
    """Delete the manifest, the broken parts and everything that points to them, so that the next build remakes them.

    An artifact over several sources lists the parts of those sources, so this reads the manifests of all stages.
    """
    lake.delete(manifest.path)
    broken = {fault.path for fault in faults} - {manifest.path}
    for entry in lake.list("artifacts"):
        if broken & {part.path for part in manifest_from_json(lake.read_json(entry.path)).all_parts()}:
            lake.delete(entry.path)
    for entry in lake.list("markers"):
        if broken & {Part(**part).path for part in lake.read_json(entry.path)["parts"]}:
            lake.delete(entry.path)
    for path in broken:
        lake.delete(path)


def _problem(lake: Lake, part: Part, cache: Path) -> str | None:
    cache.mkdir(parents=True, exist_ok=True)
    # The temporary folder deletes a copy; a part that is read in place in a local lake stays.
    with TemporaryDirectory(dir=cache) as folder:
        try:
            local = fetch_part(lake, part, Path(folder))
        except NotThere:
            return "it does not exist"
        except Corrupt:
            return "its bytes changed after it was written"
        if part.suffix != ".parquet" or part.rows < 0:
            return None
        groups = read_row_groups(local)
        digest: ContentDigest | None = None
        for group in groups:
            digest = digest or ContentDigest(group.schema)
            digest.update(group)
        rows = 0 if digest is None else digest.rows
        if rows != part.rows:
            return f"it has {rows} rows, not {part.rows}"
        if digest is not None and digest.hexdigest() != part.content:
            return "its values are not the ones that were written"
        return None
