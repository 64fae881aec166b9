"""The roots of garbage collection in a lake: named builds, recent builds, and the tokens of training runs."""

from __future__ import annotations

from infra.store.errors import NotThere
from infra.store.garbage import Roots
from infra.store.inputs import PINS
from infra.store.lake import Lake
from infra.store.manifest import Part, manifest_path
from infra.store.names import all_names
from tasks.builds import build_path
from tasks.lineage import tokens_with

_BUILDS = "builds"


def find_roots(lake: Lake, before: float) -> Roots:
    """Find the roots of a lake. Builds written since the POSIX time `before` are roots too.

    Without the tokens artifact that contains a run's files, the checkpoints of the run could not be evaluated.
    """
    named = {build_path(reference.key) for _, reference in all_names(lake)}
    young = {entry.path for entry in lake.list(_BUILDS) if entry.modified >= before}
    artifacts: set[str] = set()
    for path in named | young:
        try:
            record = lake.read_json(path)
        except NotThere:  # the name is not a build's, or the build was deleted
            continue
        artifacts |= {manifest_path(stage, key) for stage, key in record["artifacts"].values()}
    of_runs, parts = _tokens_of_runs(lake)
    return Roots(frozenset(named), frozenset(artifacts | of_runs), frozenset(parts), (_BUILDS, PINS))


def _tokens_of_runs(lake: Lake) -> tuple[set[str], set[str]]:
    """The tokens artifacts that contain all files of a run, and those files."""
    runs = [
        {Part(**source[kind]).path for source in lake.read_json(entry.path)["sources"] for kind in ("bin", "idx")}
        for entry in lake.list("runs")
        if entry.path.endswith("/run.json")
    ]
    artifacts: set[str] = set()
    for manifest in tokens_with(lake, ()) if runs else ():
        held = {part.path for part in manifest.parts}
        if any(files <= held for files in runs):
            artifacts.add(manifest.path)
    return artifacts, {path for files in runs for path in files}
