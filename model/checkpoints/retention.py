"""Retention: which checkpoints keep their whole state. The others keep only weights. Not part of a run's identity.

Pruning rewrites a checkpoint's manifest first and then deletes its state files, so a kill leaves the checkpoint either
whole or validly pruned. The next application deletes files that a kill left behind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from infra.store import faults
from infra.store.errors import Corrupt, NotThere
from infra.store.lake import Lake
from model.checkpoints.manifest import (
    MANIFEST,
    Checkpoint,
    checkpoint_folder,
    checkpoints_folder,
    read_checkpoint,
    step_of,
    verify,
    write_manifest,
)
from model.configuration import require


@dataclass(frozen=True)
class Retention:
    """Whole state for the newest `full` checkpoints, and for those whose step is a multiple of `every`.

    A checkpoint that was requested out of schedule keeps its state while it is the newest.
    """

    full: int = 2
    every: int | None = None

    def __post_init__(self) -> None:
        require(self.full >= 1, f"retention: full is {self.full}; it must be at least 1, or no run could be resumed")
        require(
            self.every is None or self.every >= 1, f"retention: every is {self.every}; it must be at least 1 or None"
        )

    def keeps(self, step: int) -> bool:
        """Whether the checkpoint of a step keeps its whole state permanently."""
        return self.every is not None and step % self.every == 0


NEWEST_TWO = Retention()


def apply_retention(
    lake: Lake, run: str, newest: int, retention: Retention, verified: Collection[str], cache: Path
) -> list[int]:
    """Prune a run's checkpoints after the commit of step `newest`; return the pruned steps.

    Only good checkpoints count among the newest: they are verified before any other is pruned, except those whose
    digest is in `verified` and whose objects have the recorded sizes. A corrupt checkpoint is left for inspection.
    Files up to `newest` that no manifest names are deleted, so no rank may be writing files of these steps.
    """
    folders: dict[int, dict[str, int]] = defaultdict(dict)
    for entry in lake.list(checkpoints_folder(run)):
        if (step := step_of(entry.path)) is not None:
            folders[step][entry.path.rpartition("/")[2]] = entry.size
    good, pruned = 0, []
    for step, objects in sorted(folders.items(), reverse=True):
        files = {name for name in objects if name.startswith("rank-")}
        if MANIFEST in objects and step != newest and not any("-state-" in name for name in files):
            continue  # pruned before
        checkpoint = _read(lake, run, step)
        if checkpoint is not None and not checkpoint.pruned and step <= newest:
            # A checkpoint out of schedule stays whole while it is the newest, and does not count as one of `full`.
            if good < (1 if checkpoint.aside else retention.full):
                good += _is_good(lake, checkpoint, objects, verified, cache) and not checkpoint.aside
            elif not retention.keeps(step):
                checkpoint = replace(checkpoint, pruned=True)
                faults.reach("retention.before_manifest")
                write_manifest(lake, checkpoint)
                faults.reach("retention.after_manifest")
                pruned.append(step)
        if step <= newest and (checkpoint is not None or MANIFEST not in objects):
            _delete_others(lake, run, step, files, checkpoint)
    return pruned


def _read(lake: Lake, run: str, step: int) -> Checkpoint | None:
    try:
        return read_checkpoint(lake, run, step)
    except (Corrupt, NotThere):
        return None


def _is_good(
    lake: Lake, checkpoint: Checkpoint, objects: dict[str, int], verified: Collection[str], cache: Path
) -> bool:
    in_place = all(objects.get(file.object) == file.bytes for file in checkpoint.files)
    if in_place and checkpoint.digest in verified:
        return True
    try:
        verify(lake, checkpoint, cache)
    except (Corrupt, NotThere):
        return False
    return True


def _delete_others(lake: Lake, run: str, step: int, files: set[str], checkpoint: Checkpoint | None) -> None:
    named = set() if checkpoint is None else {file.object for file in checkpoint.kept}
    for name in sorted(files - named):
        lake.delete(f"{checkpoint_folder(run, step)}/{name}")
