"""What a person who watches the output sees of the training."""

from __future__ import annotations

import pytest

from model.observers.records import StepRecord
from model.observers.status_lines import StatusLines, duration, status_in


def record(step: int, loss: float | None = 2.5, validation: float | None = None) -> StepRecord:
    return StepRecord(step, loss, 1.0, 1e-3, step * 1000, "", 0, 0.5, validation_loss=validation)


def test_loss_speed_and_time_left() -> None:
    now = [100.0]
    lines: list[str] = []
    observer = StatusLines(1200, lambda: now[0], lines.append)
    observer.begin(0)
    for step in range(1, 46):
        observer.on_step_end(record(step, None if step == 41 else 3.0 - step / 100, 2.75 if step == 21 else None))
        now[0] += 0.5
    observer.close("stopped")
    assert lines == [
        "step 1 of 1,200: loss 2.9900",
        "step 21 of 1,200: loss 2.7900, validation loss 2.7500, 2,000 tokens/s, 9 min 50 s left",
        "step 41 of 1,200: loss not finite, 2,000 tokens/s, 9 min 40 s left",
        "step 45 of 1,200: loss 2.5500, 1,600 tokens/s, 12 min 2 s left",
    ]
    assert status_in(lines[0] + "\n") == "loss 2.9900" and status_in("step 1 is saved") == ""


def test_after_a_rollback_the_speed_starts_anew() -> None:
    now = [0.0]
    lines: list[str] = []
    observer = StatusLines(20, lambda: now[0], lines.append)
    observer.begin(10)
    observer.on_step_end(record(11))
    now[0] += 60
    observer.begin(4)
    observer.on_step_end(record(5))
    assert lines[-1] == "step 5 of 20: loss 2.5000"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.6, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (273_600, "3 d 4 h"), (3601, "1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
