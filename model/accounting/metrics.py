"""Speed and resource use of a run: one line per second or more of training, in addition to the losses of every step.

A line covers the steps from `first_step` to `step`, because reading the meters at every step would cost more than a
step of milliseconds. A resumed run does not reproduce the lines exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from infra.store.lake import Lake
from infra.store.schema import parse_json, read_value
from model.accounting.clock import Split
from model.accounting.energy import Basis
from model.accounting.memory import Memory
from model.configuration import require
from model.observers.segmented_log import SegmentedLog, read_segments

# A fraction, or "unknown" if the device's peak is unknown.
Utilisation = float | Literal["unknown"]


@dataclass(frozen=True, slots=True)
class ModelFlops:
    """The model's FLOPs: `per_token`, forward and backward, counted by `convention`.

    `peak` is the sum of the peak FLOP/s of the run's devices in its precision, None when unknown. Recomputed
    activations do not count: it is model FLOPs utilisation (Chowdhery et al. 2022, appendix B), not hardware FLOPs
    utilisation.
    """

    per_token: float
    convention: str
    peak: float | None

    def __post_init__(self) -> None:
        require(self.per_token > 0, f"model FLOPs: per_token is {self.per_token}; it must be above 0")
        require(self.peak is None or self.peak > 0, f"model FLOPs: peak is {self.peak}; it must be above 0, or None")
        require(bool(self.convention), "model FLOPs: convention is empty; name it")

    def utilisation(self, flops_per_second: float) -> Utilisation:
        """Model FLOPs utilisation (MFU) as a fraction of the peak."""
        return "unknown" if self.peak is None else flops_per_second / self.peak

    def describe(self, flops_per_second: float) -> str:
        """The utilisation as text, with its convention."""
        share = self.utilisation(flops_per_second)
        return f"MFU {share if share == 'unknown' else f'{share:.1%}'} ({self.convention})"


@dataclass(frozen=True, slots=True)
class MetricsRecord:
    """The steps `first_step` … `step` (from 1), which ended at `time` (POSIX seconds) and took `seconds` of wall time.

    Rates are those of all ranks together. `mfu` is counted by `convention`. `split` is rank 0's time by part, in
    seconds; `memory` is rank 0's, in bytes. `joules` is the energy of the first machine's devices in this time, None
    when unknown; `energy` tells whether it was measured.
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
    """All records, in order; each step is in at most one of them."""
    records: list[MetricsRecord] = []
    for lines in read_segments(lake, _folder(run)):
        where = f"{lake.uri}/{_folder(run)}"
        read = (read_value(MetricsRecord, parse_json(line, where), where) for line in lines)
        records += [record for record in read if not records or record.first_step > records[-1].step]
    return records


def _folder(run: str) -> str:
    return f"runs/{run}/metrics"
