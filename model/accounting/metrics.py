"""How fast a run is and what it uses: a line for every second or more of training, beside the losses of every step.

A line is about the steps from `first_step` to `step`, one or several: where a step takes milliseconds, asking the
meters at each would cost more than the step. The lines up to a checkpoint are written before it is committed, in an
object named by its step; those since are in `tail.jsonl`. They are no part of what a resumed run repeats to the bit.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from infra.store.digests import canonical
from infra.store.errors import NotThere
from infra.store.lake import Lake
from model.accounting.clock import Split
from model.accounting.energy import Basis
from model.accounting.memory import Memory
from model.configuration import require

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


class Metrics:
    """The writer of a run's metrics: used by rank 0 alone."""

    def __init__(self, lake: Lake, run: str) -> None:
        self._lake, self._run = lake, run
        self._since_checkpoint: list[MetricsRecord] = []
        self._changed = False

    def begin(self, step: int) -> None:
        """Go on after the checkpoint at `step`: what is on record of later steps is taken away."""
        for entry in list(self._lake.list(_folder(self._run))):
            if entry.path == _tail(self._run) or int(entry.path.rpartition("-")[2].partition(".")[0]) > step:
                self._lake.delete(entry.path)
        self._since_checkpoint, self._changed = [], False

    def add(self, record: MetricsRecord) -> None:
        """Take a record; nothing is written yet."""
        self._since_checkpoint.append(record)
        self._changed = True

    def show(self) -> None:
        """Write what there is since the newest checkpoint."""
        if self._changed:
            self._lake.write(_tail(self._run), _lines(self._since_checkpoint))
            self._changed = False

    def commit(self, step: int) -> None:
        """Keep the records up to the checkpoint after `step`; call it before that checkpoint is committed."""
        if self._since_checkpoint:
            self._lake.write(f"{_folder(self._run)}/step-{step:06d}.jsonl", _lines(self._since_checkpoint))
        self._since_checkpoint, self._changed = [], False


def read_metrics(lake: Lake, run: str) -> list[MetricsRecord]:
    """All records, in order; no step is in two of them."""
    records: list[MetricsRecord] = []
    # "tail" sorts after the steps; it may still hold what has since been kept with a checkpoint.
    for entry in lake.list(_folder(run)):
        try:
            lines = lake.read(entry.path).splitlines()
        except NotThere:  # replaced since the listing
            continue
        read = (_record(line) for line in lines)
        records += [record for record in read if not records or record.first_step > records[-1].step]
    return records


def _folder(run: str) -> str:
    return f"runs/{run}/metrics"


def _tail(run: str) -> str:
    return f"{_folder(run)}/tail.jsonl"


def _lines(records: list[MetricsRecord]) -> bytes:
    return b"".join(canonical(asdict(record)) + b"\n" for record in records)


def _record(line: bytes) -> MetricsRecord:
    values = json.loads(line)
    return MetricsRecord(**values | {"memory": Memory(**values["memory"]), "split": Split(**values["split"])})
