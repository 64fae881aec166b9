"""Runs a work unit in a worker: read the input, call the kernel, write the parts, then the marker.

A unit whose marker exists is not run again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.engine.ahead import parts_of, reading_ahead
from infra.engine.annotating import annotate
from infra.engine.fitting import fit, fit_group, join_fits
from infra.engine.group_steps import finish_step, group_step
from infra.engine.reading import read_source
from infra.engine.shards import PartReader
from infra.engine.steps import annotate_step, map_step, merge_step, reduce_step, select_step
from infra.engine.units import (
    AnnotateUnit,
    Call,
    FinishUnit,
    FitGroupUnit,
    FitJoinUnit,
    FitUnit,
    GroupUnit,
    MapUnit,
    MergeUnit,
    PassUnit,
    ReduceUnit,
    SelectUnit,
    SourceUnit,
    WorkUnit,
)
from infra.engine.usage import counted, peak, requests, reset_peak
from infra.engine.workers import work_prefix
from infra.stage import find_stage
from infra.store.errors import StoreFull
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Marker, Part, read_marker, write_marker

Outcome = tuple[list[Part], Account, dict[str, Any]]
_STEPS: dict[type, Callable[[Any, PartReader, Path], Outcome]] = {
    SourceUnit: read_source,
    SelectUnit: select_step,
    MapUnit: map_step,
    ReduceUnit: reduce_step,
    MergeUnit: merge_step,
    AnnotateUnit: annotate_step,
    FitUnit: fit,
    FitGroupUnit: fit_group,
    FitJoinUnit: join_fits,
    GroupUnit: group_step,
    FinishUnit: finish_step,
}


def do(unit: WorkUnit, cache: Path, then: WorkUnit | None = None) -> dict[str, Marker]:
    """Run one work unit. Returns the marker of each of its calls by key.

    `cache` is a folder for copies of remote parts and for temporary files. Parts of a remote lake are copied ahead of
    their use; so are those of `then`, a unit that is likely to be next.
    """
    unit = replace(unit, lake=counted(unit.lake))
    reset_peak()
    with _room_for(cache), tempfile.TemporaryDirectory(dir=cache, prefix=work_prefix(os.getpid())) as folder:
        if isinstance(unit, PassUnit):
            # It reads its one shard at once: only what comes after can be copied ahead.
            with reading_ahead(unit.lake, cache, (), then):
                return annotate(unit, Path(folder))

        def work() -> Outcome:
            with reading_ahead(unit.lake, cache, parts_of(unit), then) as ahead:
                return _STEPS[type(unit)](unit, PartReader(unit.lake, cache, ahead.used), Path(folder))

        return _once(unit.lake, unit.call, work)


@contextlib.contextmanager
def _room_for(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StoreFull(
                f"no space is left in {cache}, where workers write before they upload. Free some, or set TMPDIR to a "
                "folder with more."
            ) from error
        raise


def _once(lake: Lake, call: Call, work: Callable[[], Outcome]) -> dict[str, Marker]:
    name = find_stage(call.reference).name
    before = requests(lake)
    found = read_marker(lake, name, call.key)
    if found is None:
        started = time.monotonic()
        parts, account, slices = work()
        account.check(f"stage {name}")
        seconds = round(time.monotonic() - started, 3)
        found = Marker(call.key, tuple(parts), account, seconds, slices, requests(lake) - before + 1, peak())
        write_marker(lake, name, found)
    return {call.key: found}
