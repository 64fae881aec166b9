"""Runs a work unit in a worker: read the input, call the kernel, write the parts, then the marker.

A unit whose marker exists is not run again.
"""

from __future__ import annotations

import contextlib
import errno
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from infra.engine.annotating import annotate
from infra.engine.fitting import fit
from infra.engine.group_steps import finish_step, group_step
from infra.engine.reading import read_source
from infra.engine.shards import PartReader
from infra.engine.steps import annotate_step, map_step, reduce_step, select_step
from infra.engine.units import (
    AnnotateUnit,
    Call,
    FinishUnit,
    FitUnit,
    GroupUnit,
    MapUnit,
    PassUnit,
    ReduceUnit,
    SelectUnit,
    SourceUnit,
    WorkUnit,
)
from infra.stage import find_stage
from infra.store.errors import StoreFull
from infra.store.lake import Lake
from infra.store.ledger import Account
from infra.store.manifest import Marker, Part, read_marker, write_marker

_STEPS: dict[type, Callable[[Any, PartReader, Path], tuple[list[Part], Account, dict[str, Any]]]] = {
    SourceUnit: read_source,
    SelectUnit: select_step,
    MapUnit: map_step,
    ReduceUnit: reduce_step,
    AnnotateUnit: annotate_step,
    FitUnit: fit,
    GroupUnit: group_step,
    FinishUnit: finish_step,
}


def do(unit: WorkUnit, cache: Path) -> dict[str, Marker]:
    """Run one work unit. Returns the marker of each of its calls by key.

    `cache` is a folder for copies of remote parts and for temporary files.
    """
    with _room_for(cache), tempfile.TemporaryDirectory(dir=cache, prefix="work-") as folder:
        reader = PartReader(unit.lake, cache)
        if isinstance(unit, PassUnit):
            return annotate(unit, Path(folder))
        return _once(unit.lake, unit.call, lambda: _STEPS[type(unit)](unit, reader, Path(folder)))


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


def _once(lake: Lake, call: Call, work: Callable[[], tuple[list[Part], Account, dict[str, Any]]]) -> dict[str, Marker]:
    name = find_stage(call.reference).name
    found = read_marker(lake, name, call.key)
    if found is None:
        started = time.monotonic()
        parts, account, slices = work()
        account.check(f"stage {name}")
        found = Marker(call.key, tuple(parts), account, round(time.monotonic() - started, 3), slices)
        write_marker(lake, name, found)
    return {call.key: found}
