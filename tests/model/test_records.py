"""The logbook, the losses and the progress of a run."""

from __future__ import annotations

from dataclasses import replace

from infra.store.lake import Lake
from model.observers.losses import Losses, read_losses
from model.observers.records import StepRecord
from model.supervision.logbook import Logbook, read_logbook
from model.supervision.progress import ProgressWriter, read_progress

RECORD = StepRecord(1, 2.5, 0.75, 1e-3, 256, "0" * 64, 0, 0.5)


def test_events_stay_in_order_over_launches(lake: Lake) -> None:
    first = Logbook(lake, "run", "aaaa", 0)
    first.write("launch", 0)
    first.write("checkpoint", 4, bytes=10)
    second, other_rank = Logbook(lake, "run", "bbbb", 0), Logbook(lake, "run", "bbbb", 1)
    second.write("resume", 4)
    other_rank.write("error", 4, message="out of memory")
    events = read_logbook(lake, "run")
    assert [(one["event"], one["launch"]) for one in events] == [
        ("launch", "aaaa"),
        ("checkpoint", "aaaa"),
        ("resume", "bbbb"),
        ("error", "bbbb"),
    ]
    assert events[1]["bytes"] == 10 and events[3]["message"] == "out of memory"
    assert [one["number"] for one in events] == [1, 2, 3, 3], "two ranks may share a number, never an object"


def test_numbers_sort_after_many_events(lake: Lake) -> None:
    for launch in range(3):
        logbook = Logbook(lake, "run", f"{launch}", 0)
        for step in range(60):
            logbook.write("checkpoint", launch * 60 + step)
    assert [one["step"] for one in read_logbook(lake, "run")] == list(range(180))


def test_losses_are_read_once_each_and_exactly(lake: Lake) -> None:
    losses = Losses(lake, "run")
    records = [replace(RECORD, step=step, loss=0.1 + step / 3) for step in range(1, 8)]
    for record in records[:4]:
        losses.on_step_end(record)
    losses.commit(4)
    for record in records[4:]:
        losses.on_step_end(record)
    losses.flush()
    assert read_losses(lake, "run") == records, "floats survive to the last bit"


def test_what_stands_beside_a_checkpoint_has_precedence(lake: Lake) -> None:
    losses = Losses(lake, "run")
    losses.on_step_end(replace(RECORD, loss=9.0))
    losses.flush()
    losses = Losses(lake, "run")
    losses.on_step_end(RECORD)
    losses.commit(1)
    assert read_losses(lake, "run") == [RECORD]


def test_nothing_on_record(lake: Lake) -> None:
    assert (read_losses(lake, "run"), read_logbook(lake, "run"), read_progress(lake, "run")) == ([], [], None)


def test_progress_is_limited_in_time(lake: Lake) -> None:
    writer = ProgressWriter(lake, "run", 10, "aaaa")
    assert writer.due("training")
    writer.write("training", 3, 2.5, 768, 1000.0)
    assert not writer.due("training") and writer.due("stopped")
    progress = read_progress(lake, "run")
    assert progress is not None and (progress.state, progress.step, progress.steps) == ("training", 3, 10)
