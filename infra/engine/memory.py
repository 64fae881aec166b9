"""The memory of workers: how much each may use, how much it uses, and which one has too much.

What counts is the memory that no other process can have: anonymous pages and swap, of a worker and of the programs
that it started. Mapped files do not count (the kernel takes their pages back), so a limit does not depend on how much
of a part or of a model is mapped. A limit of the address space (setrlimit) would count what Arrow only reserves.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

WORKER_MEMORY = "MILLRACE_WORKER_MEMORY"
# What workers may have of a machine. The rest is for the flow, the kernel and its cache of files.
_SHARE = 0.85
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
T = TypeVar("T")


class WrongLimit(ValueError):
    """The stated limit of a worker's memory cannot be used; says what is allowed."""


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """The bytes that a worker may use for each place that its unit has. `stated`: by a person.

    A stated limit holds for each worker. Without one, a worker may use what the others leave of the machine.
    """

    place_bytes: int
    stated: bool

    def over(self, used: Mapping[T, tuple[int, int]], places: int) -> T | None:
        """The worker that must end, if one must: `used` maps workers to (bytes, places); the machine has `places`."""
        if not self.stated and sum(size for size, _ in used.values()) <= self.place_bytes * places:
            return None
        excess = {worker: size - held * self.place_bytes for worker, (size, held) in used.items()}
        worst = max(excess, key=lambda worker: excess[worker], default=None)
        return worst if worst is not None and excess[worst] > 0 else None


def memory_limit(workers: int) -> MemoryLimit:
    """The limit that MILLRACE_WORKER_MEMORY states, else an equal share of this machine's memory. Raises WrongLimit."""
    stated = stated_bytes()
    if stated is not None:
        return MemoryLimit(stated, stated=True)
    return MemoryLimit(int(_SHARE * machine_bytes()) // workers, stated=False)


def stated_bytes() -> int | None:
    """The bytes that MILLRACE_WORKER_MEMORY states (``4G``, ``512M``, ``2GiB``), if any. Raises WrongLimit."""
    text = os.environ.get(WORKER_MEMORY, "").strip()
    if not text:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", text)
    if not found or float(found[1]) * _UNITS[found[2]] < 1 << 26:
        raise WrongLimit(f"{WORKER_MEMORY} is {text}: write the memory of a worker as 4G or 512M, at least 64M")
    return int(float(found[1]) * _UNITS[found[2]])


def machine_bytes() -> int:
    """The memory of this machine, or of the control group (container) of this process when that is less."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([found, *_group_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def private_bytes(pid: int) -> int:
    """The anonymous and swapped memory of a process and of all below it; 0 for processes that are gone."""
    return sum(_own_bytes(process) for process in [pid, *below(pid)])


def below(pid: int) -> list[int]:
    """The processes below a process, nearest first."""
    found: list[int] = []
    around = [pid]
    while around:
        around = [child for one in around for child in _children(one)]
        found += around
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def _own_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    kilobytes = {
        name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest
    }
    return (kilobytes.get("RssAnon", 0) + kilobytes.get("VmSwap", 0)) << 10


def _group_limits(groups: Path, mount: Path) -> list[int]:
    """The limits of the control groups that a file such as /proc/self/cgroup names, and of those around them."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for line in groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root, name = (mount / "memory", "memory.limit_in_bytes") if controllers else (mount, "memory.max")
            here = root / path.lstrip("/")
            for folder in [here, *(parent for parent in here.parents if parent.is_relative_to(root))]:
                with contextlib.suppress(OSError, ValueError):  # "max" is no number
                    found.append(int((folder / name).read_text()))
    return found
