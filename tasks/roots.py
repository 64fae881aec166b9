"""The roots of garbage collection in a lake: named builds, recent builds, and the tokens of training runs."""

from __future__ import annotations

import logging

from infra.store.errors import Corrupt, NotThere
from infra.store.garbage import Roots
from infra.store.inputs import PINS
from infra.store.lake import Lake
from infra.store.manifest import manifest_path
from infra.store.names import all_names
from tasks.builds import build_path, read_build
from tasks.lineage import tokens_with
from tasks.runs import read_run_record, run_keys

_logger = logging.getLogger("millrace.store")
_BUILDS = "builds"


def find_roots(lake: Lake, before: float) -> Roots:
    """Find the roots of a lake. Builds written since the POSIX time `before` are roots too.

    Raises Corrupt for a damaged name, for the damaged record of a named build, and for a damaged run.

    Without the tokens artifact that contains a run's files, the checkpoints of the run could not be evaluated.
    """
    named = {build_path(reference.key) for _, reference in all_names(lake)}
    young = {entry.path for entry in lake.list(_BUILDS) if entry.modified >= before}
    artifacts: set[str] = set()
    for path in sorted(named | young):
        try:
            record = read_build(lake, path)
        except NotThere:  # the name is not a build's, or the build was deleted
            continue
        except Corrupt as error:
            if path in named:
                raise
            _logger.warning("%s", error)  # no record: nothing can use what it names
            continue
        artifacts |= {manifest_path(stage, key) for stage, key in record.artifacts.values()}
    of_runs, parts = _tokens_of_runs(lake)
    return Roots(frozenset(named), frozenset(artifacts | of_runs), frozenset(parts), (_BUILDS, PINS))


def _tokens_of_runs(lake: Lake) -> tuple[set[str], set[str]]:
    """The tokens artifacts that contain all files of a run, and those files."""
    runs = [{part.path for part in read_run_record(lake, run).files} for run in run_keys(lake)]
    artifacts: set[str] = set()
    for manifest in tokens_with(lake, ()) if runs else ():
        held = {part.path for part in manifest.parts}
        if any(files <= held for files in runs):
            artifacts.add(manifest.path)
    return artifacts, {path for files in runs for path in files}
