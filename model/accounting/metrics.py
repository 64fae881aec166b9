"""How fast a run is and what it uses: a line for every second or more of training, beside the losses of every step.

A line is about the steps from `first_step` to `step`, one or several: where a step takes milliseconds, asking the
meters at each would cost more than the step. Resumed runs do not repeat them to the bit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from infra.store.lake import Lake
from model.accounting.clock import Split
from model.accounting.energy import Basis
from model.accounting.memory import Memory
from model.configuration import require
from model.observers.segmented_log import SegmentedLog, read_segments

# A fraction, or that nobody knows what the device could do.
Utilisation = float | Literal["unknown"]


@dataclass(frozen=True, slots=True)
class ModelFlops:
    """What the model's own arithmetic is: `per_token` FLOPs forward and backward, counted by `convention`.

    `peak` is the sum of what the run's devices could do a second in its precision, None when it is not known.
    Recomputed activations do not count: it is the utilisation of the model's FLOPs (Chowdhery et al. 2022,
    appendix B), not the hardware's.
    """

    per_token: float
    convention: str
    peak: float | None

    def __post_init__(self) -> None:
        require(self.per_token > 0, f"model FLOPs: {self.per_token} for each token; it must be above 0")
        require(self.peak is None or self.peak > 0, f"model FLOPs: a peak of {self.peak}; it must be above 0, or None")
        require(bool(self.convention), "model FLOPs: a figure without its convention means nothing; name it")

    def utilisation(self, flops_per_second: float) -> Utilisation:
        """Model FLOPs utilisation (MFU) as a fraction of the peak."""
        return "unknown" if self.peak is None else flops_per_second / self.peak

    def describe(self, flops_per_second: float) -> str:
        """The utilisation for people, always with its convention."""
        share = self.utilisation(flops_per_second)
        return f"MFU {share if share == 'unknown' else f'{share:.1%}'} ({self.convention})"


@dataclass(frozen=True, slots=True)
class MetricsRecord:
    """The steps `first_step` … `step` (from 1), which ended at `time` (POSIX seconds) and took `seconds` by the wall.

    Rates are those of the whole run, all ranks together. `mfu` is counted by `convention`. `split` is rank 0's time by
    part, in seconds; memory, in bytes, is rank 0's. `joules` is what the devices of the first machine used in these
    seconds, None when unknown; `energy` says whether that was measured.
    """

    first_step: int
    step: int
    time: float
    seconds: float
    tokens_per_second: float
    flops_per_second: float
    mfu: Utilisation
    convention: str
    memory: Memory
    split: Split
    joules: float | None
    energy: Basis


def metrics_log(lake: Lake, run: str) -> SegmentedLog[MetricsRecord]:
    """The writer of a run's metrics; used by rank 0 only."""
    return SegmentedLog(lake, _folder(run))


def read_metrics(lake: Lake, run: str) -> list[MetricsRecord]:
    """All records, in order; no step is in two of them."""
    records: list[MetricsRecord] = []
    for lines in read_segments(lake, _folder(run)):
        read = map(_record, lines)
        records += [record for record in read if not records or record.first_step > records[-1].step]
    return records


def _folder(run: str) -> str:
    return f"runs/{run}/metrics"


def _record(line: bytes) -> MetricsRecord:
    values = json.loads(line)
    return MetricsRecord(**values | {"memory": Memory(**values["memory"]), "split": Split(**values["split"])})
