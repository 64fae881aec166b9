"""The budget of one piece of work: processor time and memory. The kernel of the operating system enforces it."""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Budget:
    """What one piece of work may use: seconds of processor time, and bytes of memory beyond those already in use.

    Processor time, unlike elapsed time, does not grow when other programs slow the machine down.
    """

    seconds: float
    memory_bytes: int

    def __str__(self) -> str:
        return f"{self.seconds:g} s of processor time and {self._gibibytes} of memory"

    @property
    def too_much_memory(self) -> str:
        """What happened to work that was refused memory."""
        return f"needed more than {self._gibibytes} of memory"

    @property
    def _gibibytes(self) -> str:
        return f"{self.memory_bytes / (1 << 30):.3g} GiB"


# The slowest page within the limits of the extractors takes seconds, and tens of megabytes.
RECORD_BUDGET = Budget(seconds=300.0, memory_bytes=4 << 30)


@contextlib.contextmanager
def limited_memory(budget: Budget) -> Iterator[None]:
    """Within the block, allocations beyond the budget fail: MemoryError in Python, often a crash in native code."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = _data_bytes() + budget.memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (allowed if before[1] < 0 else min(allowed, before[1]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def start_clock(budget: Budget) -> None:
    """From now on, the process has the time of its budget; SIGPROF ends it when that is used up."""
    signal.setitimer(signal.ITIMER_PROF, budget.seconds)


def stop_clock() -> None:
    """The time of the process is no longer limited."""
    signal.setitimer(signal.ITIMER_PROF, 0)


def cause_of_death(exit_code: int) -> str:
    """Why a process that worked under a budget ended, from its exit code (negative: a signal)."""
    if exit_code == -signal.SIGPROF:
        return "used more processor time than its budget"
    if exit_code == -signal.SIGKILL:
        return "was killed (SIGKILL: the machine ran out of memory, or somebody ended it)"
    if exit_code < 0:
        return f"crashed ({signal.Signals(-exit_code).name})"
    return f"ended with exit code {exit_code}"


def _data_bytes() -> int:
    """The bytes that count towards RLIMIT_DATA: `VmData` of proc(5), field 6 of statm, in pages."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
