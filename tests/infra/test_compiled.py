"""Functions that numba compiles at their first call, alone and calling each other across modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from infra.compiled import needed_libraries, njit

LOWER = """
from infra.compiled import njit

@njit(cache=True)
def double(number):
    return 2 * number
"""
UPPER = """
import sys
from infra.compiled import njit
from lower import double

@njit(cache=True)
def quadruple(numbers):
    total = 0
    for number in numbers:
        total += double(double(number))
    return total

import numpy as np
before = "numba" in sys.modules
print(before, quadruple(np.arange(4)), "numba" in sys.modules, double(5))
"""


@njit()
def _total(numbers: np.ndarray) -> int:
    """The sum of numbers."""
    total = 0
    for number in numbers:
        total += number
    return total


def test_a_function_keeps_its_name_and_its_result() -> None:
    assert _total(np.arange(5)) == 10
    assert (_total.__name__, _total.__doc__) == ("_total", "The sum of numbers.")
    assert needed_libraries() == ["numba"], "workers are forked from a process that has imported it"


def test_numba_is_imported_with_the_first_call(tmp_path: Path) -> None:
    (tmp_path / "lower.py").write_text(LOWER)
    (tmp_path / "upper.py").write_text(UPPER)
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, tmp_path / "upper.py"],
        env={"PYTHONPATH": root, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "False 24 True 10\n", done.stderr
