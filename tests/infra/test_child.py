"""A function in a child process: its result, its own error, or the cause of the child's death."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from infra.budget import Budget
from infra.child import ChildDied, run_in_child

BUDGET = Budget(seconds=1.0, memory_bytes=1 << 30)


def divide(a: int, b: int) -> float:
    return a / b


def misbehave(how: str) -> None:
    if how == "spin":
        while True:
            pass
    if how == "bloat":
        bytearray(1 << 40)
    os.kill(os.getpid(), signal.Signals[how])


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("spin", "used more processor time than its budget"),
        ("bloat", "needed more than 1 GiB of memory"),
        ("SIGSEGV", "crashed (SIGSEGV)"),
        ("SIGKILL", "ran out of memory, or somebody ended it"),
    ],
)
def test_the_cause_of_death_is_told(how: str, cause: str) -> None:
    with pytest.raises(ChildDied) as error:
        run_in_child(misbehave, how, budget=BUDGET)
    assert cause in str(error.value)


def test_results_and_errors_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A module in the current folder is not taken for ours.
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / "__init__.py").write_text("raise SystemExit('taken from the current folder')")
    monkeypatch.chdir(tmp_path)
    assert run_in_child(divide, 6, 3, budget=BUDGET) == 2
    with pytest.raises(ZeroDivisionError):
        run_in_child(divide, 1, 0, budget=None)
