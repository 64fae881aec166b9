"""What a unit uses of this process: requests to the lake, and memory."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

from infra.store.counted import CountedLake
from infra.store.lake import Lake

_PEAK = "VmHWM:"  # of proc(5): the most resident memory since it was reset


def counted(lake: Lake) -> Lake:
    """The lake, as one that counts what this process asks of it."""
    return lake if isinstance(lake, CountedLake) else _counted(lake.uri)


def requests(lake: Lake) -> int:
    """The requests so far of this process to a lake that counts; 0 for another one."""
    return lake.requests.total() if isinstance(lake, CountedLake) else 0


def reset_peak() -> None:
    """Forget the peak; a kernel that cannot goes on with that of the whole process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """The most resident memory of this process since the reset, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(_PEAK):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {_PEAK}")


@functools.lru_cache(maxsize=8)
def _counted(uri: str) -> CountedLake:
    # One for all units of a process, as a part is copied once to it.
    return CountedLake(uri)
