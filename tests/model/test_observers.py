"""The interface of step observers, and the log that losses and metrics are written to."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from infra.store.lake import Lake
from model.observers.observer import Ending, Observers, StepObserver
from model.observers.segmented_log import SegmentedLog, read_segments
from model.observers.throttle import Throttle


@dataclass(frozen=True)
class Line:
    """A record."""

    step: int


class Noting(StepObserver):
    """Notes what it is told, and raises at the end when told to."""

    def __init__(self, notes: list[str], name: str, error: Exception | None = None) -> None:
        self.notes, self.name, self.error = notes, name, error

    def commit(self, step: int) -> None:
        self.notes.append(f"{self.name} {step}")

    def close(self, ending: Ending) -> None:
        self.notes.append(f"{self.name} {ending}")
        if self.error is not None:
            raise self.error


def steps(lake: Lake) -> list[list[int]]:
    return [[json.loads(line)["step"] for line in lines] for lines in read_segments(lake, "log")]


def test_observers_are_called_in_order_and_all_are_closed() -> None:
    notes: list[str] = []
    observers = Observers([Noting(notes, "one"), Noting(notes, "two", OSError("full")), Noting(notes, "three")])
    observers.commit(4)
    observers.flush()  # none of them cares
    with pytest.raises(OSError, match="full"):
        observers.close("failed")
    assert notes == ["one 4", "two 4", "three 4", "one failed", "two failed", "three failed"]


def test_a_log_has_an_object_for_each_checkpoint(lake: Lake) -> None:
    log: SegmentedLog[Line] = SegmentedLog(lake, "log")
    for step in range(1, 6):
        log.add(Line(step))
        if step in (2, 4):
            log.flush()
            log.commit(step)
    log.flush()
    log.flush()
    assert steps(lake) == [[1, 2], [3, 4], [5]]
    log.add(Line(6))
    assert steps(lake)[-1] == [5], "nothing is written before it is asked for"
    log.flush()
    assert steps(lake)[-1] == [5, 6]


def test_a_resumed_log_drops_what_will_be_recorded_again(lake: Lake) -> None:
    killed: SegmentedLog[Line] = SegmentedLog(lake, "log")
    for step in range(1, 6):
        killed.add(Line(step))
        if step in (2, 4):
            killed.commit(step)
    killed.flush()
    resumed: SegmentedLog[Line] = SegmentedLog(lake, "log")
    resumed.begin(2)
    assert steps(lake) == [[1, 2]]
    resumed.add(Line(3))
    resumed.commit(3)
    assert steps(lake) == [[1, 2], [3]]


def test_a_throttle_without_interval_is_always_due() -> None:
    assert Throttle(0.0).due() and not Throttle(3600.0).due()
