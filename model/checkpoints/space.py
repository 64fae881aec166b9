"""Checks before a run begins that there is enough disk space for its checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from infra.store.errors import StoreFull
from infra.store.lake import Lake
from model.checkpoints.manifest import checkpoints_folder
from model.checkpoints.retention import Retention

# Bytes per parameter in a checkpoint: fp32, whatever precision training uses.
WEIGHT_BYTES = 4
MOMENT_BYTES = 8  # both moments of AdamW


def checkpoint_bytes(parameters: int, steps: Sequence[int], retention: Retention) -> int:
    """The maximum bytes of checkpoints at `steps` at any time of the run: tensors, without the files' headers.

    A new checkpoint is complete before an older one is pruned.
    """
    most, for_good, newest = 0, 0, 0
    for number in range(1, len(steps) + 1):
        newest += 1
        most = max(most, number * WEIGHT_BYTES + (for_good + newest) * MOMENT_BYTES)
        if newest > retention.full:
            newest -= 1
            for_good += retention.keeps(steps[number - 1 - retention.full])
    return most * parameters


def cache_bytes(parameters: int, ranks: int, remote: bool) -> int:
    """The maximum bytes of checkpoints in this machine's cache; `ranks` is the number of ranks on this machine.

    While saving, each rank has one of its files there: together at most the moments of the whole model. With a remote
    lake, every rank also copies the weights when the run resumes.
    """
    return parameters * (MOMENT_BYTES + (WEIGHT_BYTES * ranks if remote else 0))


def require_space(
    lake: Lake,
    run: str,
    cache: Path,
    parameters: int,
    steps: Sequence[int],
    retention: Retention,
    ranks: int,
    first_step: int = 0,
) -> None:
    """Raise StoreFull when the run's checkpoints, at `steps` of its schedule, do not fit.

    A run that continues another after `first_step` steps stores that state as its first checkpoint and none from
    before. Existing checkpoints of the run count as stored, and so do token files, whose space `fetch_part` checked.
    The capacity of a remote lake is unknown and not checked. `ranks` is the number of ranks on this machine, which has
    the cache.
    """
    lake_path = lake.local_path(checkpoints_folder(run))
    in_cache = cache_bytes(parameters, ranks, remote=lake_path is None)
    if lake_path is None:
        _require("the cache", cache, in_cache)
        return
    stored = sum(entry.size for entry in lake.list(checkpoints_folder(run)))
    kept = [first_step, *(step for step in steps if step > first_step)]
    in_lake = max(0, checkpoint_bytes(parameters, kept, retention) - stored)
    if _disk(lake_path) == _disk(cache):
        _require("the lake, with the cache on the same disk,", lake_path, in_lake + in_cache)
        return
    _require("the lake", lake_path, in_lake)
    _require("the cache", cache, in_cache)


def _require(what: str, path: Path, needed: int) -> None:
    free = shutil.disk_usage(_existing(path)).free
    if free < needed:
        raise StoreFull(
            f"{what} at {_existing(path)} has {_gigabytes(free)} free, and the checkpoints of this run need "
            f"{_gigabytes(needed)} more. Free disk space, choose another location, keep fewer checkpoints whole, or "
            "save less often."
        )


def _disk(path: Path) -> int:
    return _existing(path).stat().st_dev


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.3f} GB"
