"""The measurement of what a build costs beside its work."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.bench import orchestration
from tests.bench.build_apart import IMPORTS, KEYS, PREFECT, Clock
from tests.bench.scale import write_lines


def test_time_of_inner_blocks_counts_for_them_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 3.0, 7.0, 20.0, 21.0])
    monkeypatch.setattr(time, "thread_time", lambda: next(now))
    clock = Clock()
    module = SimpleNamespace(outer=lambda: module.inner(), inner=lambda: "made")
    clock.around(module, ["outer"], "outer")
    clock.around(module, ["inner"], "inner")
    assert module.outer() == "made"
    assert clock.seconds == {"outer": 1.0 + 4.0, "inner": 2.0}
    assert module.inner() == "made" and clock.seconds["inner"] == 3.0


def test_shares_are_of_the_work() -> None:
    found = orchestration.shares(200.0, {IMPORTS: 4.0, PREFECT: 2.0, KEYS: 1.0, orchestration.SERVER_START: 5.0})
    assert found == {"whole": pytest.approx(0.06), "own": pytest.approx(0.015)}


@pytest.mark.heavy
def test_every_part_of_a_small_build_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestration, "_IDLE_SECONDS", 0.5)
    (tmp_path / "in").mkdir()
    write_lines(tmp_path / "in", 600)
    counts = orchestration.build(tmp_path, 2)
    assert counts["work"] > 0 and counts["units"] > 10 and counts["artifacts"] > 5
    beside = counts["beside"]
    assert all(seconds > 0 for name, seconds in beside.items() if name not in (orchestration.EXIT,))
    assert beside[PREFECT] < beside[IMPORTS] + 10 and beside[KEYS] < 10
