"""Runs the steps of a unit within a budget, and finds the one of which a worker died.

The kernel of the operating system ends a worker whose step exceeds the budget. The unit is then run again in a child
process that notes the number of each step before it takes it. When that process dies, the step is condemned: it is
not taken again, and what it was about fails under ``over_budget``, in this and in every later build of the lake.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from infra.budget import Budget, start_clock, stop_clock
from infra.child import ChildDied, run_in_child

T = TypeVar("T")


class OverBudget(Exception):
    """A step exceeded the budget, now or before; says how."""


class Watch:
    """Takes the steps of a unit in order, each within `budget`.

    `condemned` maps the numbers of steps at which a process died to the cause of its death. The file `note` holds the
    number of the step that is being taken.
    """

    def __init__(self, budget: Budget, condemned: Mapping[int, str] | None = None, note: Path | None = None) -> None:
        self.budget = budget
        self.careful = note is not None
        self._condemned = condemned or {}
        self._note = None if note is None else os.open(note, os.O_WRONLY | os.O_CREAT, 0o600)
        self._number = -1

    def take(self, work: Callable[[], T], known: bool = False) -> T:
        """Take the next step. Raises OverBudget when it exceeds the budget; it is not taken if that is `known`."""
        self._number += 1
        if self._number in self._condemned:
            raise OverBudget(self._condemned[self._number])
        if known:
            raise OverBudget("exceeded its budget when this lake was built before")
        if self._note is not None:
            os.pwrite(self._note, self._number.to_bytes(8, "little"), 0)
        start_clock(self.budget)
        try:
            return work()
        except MemoryError as error:
            raise OverBudget(self.budget.too_much_memory) from error
        finally:
            stop_clock()


def run_carefully(function: Callable[[Any, Path, Watch], T], unit: Any, folder: Path) -> T:
    """Call ``function(unit, folder, watch)`` in child processes, until one does not die.

    Raises ChildDied when a child dies before its first step, or twice of the same one.
    """
    note = folder / "step"
    condemned: dict[int, str] = {}
    while True:
        note.unlink(missing_ok=True)
        try:
            return run_in_child(_watched, function, unit, folder, condemned, note, budget=None)
        except ChildDied as error:
            held = note.read_bytes() if note.exists() else b""
            number = int.from_bytes(held, "little")
            if not held or number in condemned:
                raise
            condemned[number] = str(error)


def _watched(
    function: Callable[[Any, Path, Watch], T], unit: Any, folder: Path, condemned: dict[int, str], note: Path
) -> T:
    return function(unit, folder, Watch(unit.budget, condemned, note))
