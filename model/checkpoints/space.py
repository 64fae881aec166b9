"""Disk space, before a run begins: what its checkpoints will need, and whether it is there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from infra.store.errors import StoreFull
from infra.store.lake import Lake
from model.checkpoints.manifest import checkpoints_folder
from model.checkpoints.retention import Retention

# Bytes of a parameter in a checkpoint: fp32, whatever training computes in.
WEIGHT_BYTES = 4
MOMENT_BYTES = 8  # both of AdamW's


def checkpoint_bytes(parameters: int, steps: Sequence[int], retention: Retention) -> int:
    """The most bytes that checkpoints at `steps` hold at any time of the run: tensors, without the files' headers.

    A new checkpoint is whole before an older one is pruned.
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
    """The most bytes that this machine's cache holds of checkpoints: `ranks` are those on this machine.

    While saving, each rank has one of its files there, at most the moments of the whole model together. From a remote
    lake every rank also copies the weights when the run is resumed.
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
    """Raises StoreFull when the checkpoints at `steps` of its schedule, all those of the run, will not fit.

    A run that begins after `first_step` steps of another keeps that state as its own, and none from before. What the
    run has stored already counts as there, and so do token files, for which `fetch_part` found room. How much a remote
    lake can take is unknown and is not asked; the cache is on this machine, and so are `ranks` of the run.
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
            f"{_gigabytes(needed)} more. Free some, name another place, keep fewer checkpoints whole, or save less "
            "often."
        )


def _disk(path: Path) -> int:
    return _existing(path).stat().st_dev


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.3f} GB"
