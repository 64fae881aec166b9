"""The step records of a run: `runs/<key>/losses/`, one line per step."""

from __future__ import annotations

from infra.store.lake import Lake
from infra.store.schema import parse_json, read_value
from model.observers.observer import StepObserver
from model.observers.records import StepRecord
from model.observers.segmented_log import SegmentedLog, read_segments


class Losses(StepObserver):
    """Writes the step records of a run; used by rank 0 only."""

    def __init__(self, lake: Lake, run: str) -> None:
        self._log: SegmentedLog[StepRecord] = SegmentedLog(lake, _folder(run))

    def begin(self, step: int) -> None:
        self._log.begin(step)

    def on_step_end(self, record: StepRecord) -> None:
        self._log.add(record)

    def flush(self) -> None:
        self._log.flush()

    def commit(self, step: int) -> None:
        self._log.commit(step)


def read_losses(lake: Lake, run: str) -> list[StepRecord]:
    """The records of all steps, in order, each step once."""
    records: dict[int, StepRecord] = {}
    for lines in read_segments(lake, _folder(run)):
        for line in lines:
            where = f"{lake.uri}/{_folder(run)}"
            record: StepRecord = read_value(StepRecord, parse_json(line, where), where)
            # Checkpoint segments come before the tail and take precedence.
            records.setdefault(record.step, record)
    return [records[step] for step in sorted(records)]


def _folder(run: str) -> str:
    return f"runs/{run}/losses"
