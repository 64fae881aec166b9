"""The account of one launch on one rank: it measures time and energy by part and writes them.

    with open_accounting(lake, config, layout) as accounting:
        accounting.join(launch)                         # after the engine is created
        with accounting.watching():
            accounting.begin(step)                      # from here on like any StepObserver
            with accounting.clock.measure("data"): ...  # and "compute", "saving"

Open it before creating the engine, which is where a launch is most likely to fail. Every rank has one. Rank 0 writes
the metrics, and the first rank of each machine writes that machine's account. No rank waits for another.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from infra.store.errors import StoreError
from infra.store.lake import Lake
from model.accounting.clock import StepClock, watch_collectives
from model.accounting.energy import Energy, Meter, total
from model.accounting.memory import memory_held
from model.accounting.metrics import MetricsRecord, ModelFlops, metrics_log
from model.accounting.rank_info import RankInfo, device_name, rank_info_of_process
from model.accounting.usage_reporter import INTERVAL, open_usage_reporter
from model.cost.devices import reported_device
from model.cost.flops import model_flops
from model.observers.observer import Ending, StepObserver
from model.observers.records import StepRecord
from model.observers.throttle import Throttle

if TYPE_CHECKING:
    from model.architectures.architecture import ModelConfig
    from model.layout import Layout
    from model.run.config import RunConfig

# Minimum seconds covered by a metrics record, and minimum seconds between two writes of the tail.
WINDOW_SECONDS = 1.0
FLUSH_SECONDS = 5.0


def open_accounting(lake: Lake, config: RunConfig, layout: Layout) -> Accounting:
    """This rank's account of a launch of a run. Its time starts now.

    For a GPU that is not in `model.cost.devices`, the MFU is "unknown".
    """
    device = reported_device(device_name(layout.device))
    training = config.training
    flops = flops_of(config.model, training.sequence_length, training.precision, layout)
    return Accounting(
        lake,
        config.key,
        rank_info_of_process(),
        layout.device,
        tokens=training.batch * training.sequence_length,
        flops=flops,
        rated_watts=None if device is None else device.watts,
    )


def flops_of(config: ModelConfig, sequence_length: int, precision: str, layout: Layout) -> ModelFlops:
    """The model's FLOPs in the full-attention convention, and the peak of all the layout's devices."""
    counted = model_flops(config, sequence_length)
    device = reported_device(device_name(layout.device))
    peak = None if device is None else device.peak(precision)
    return ModelFlops(counted.total, counted.convention, None if peak is None else peak * layout.ranks)


class Accounting(StepObserver):
    """One rank's account of a launch. `tokens` is the number of tokens per step over all ranks; `flops` is the model's.

    As a context manager, it writes the account from the start on; an exception closes it as "failed". `rated_watts` is
    the rated power of one device; if it is None, energy that cannot be measured is unknown. `meters` are this
    machine's; by default `meters_of_machine` finds them. A metrics record covers at least `window` seconds of steps.
    The account is written every `interval` seconds, the metrics at most every `flush_interval`.
    """

    def __init__(
        self,
        lake: Lake,
        run: str,
        rank_info: RankInfo,
        device: Literal["cpu", "cuda"],
        tokens: int,
        flops: ModelFlops,
        rated_watts: float | None = None,
        meters: Sequence[Meter] | None = None,
        window: float = WINDOW_SECONDS,
        interval: float = INTERVAL,
        flush_interval: float = FLUSH_SECONDS,
    ) -> None:
        self.clock = StepClock()
        self.latest: MetricsRecord | None = None
        self._rank_info, self._device, self._tokens, self._flops = rank_info, device, tokens, flops
        self._metrics = metrics_log(lake, run)
        self._publish_to: tuple[StepObserver, ...] = ()
        self._window, self._throttle = window, Throttle(flush_interval)
        self._reporter = None
        if not rank_info.local_rank:
            self._reporter = open_usage_reporter(lake, run, rank_info, device, rated_watts, meters, interval)
        self._first: int | None = None
        self._step = self._taken = 0
        self._opened = time.monotonic()
        self._open: list[int] = []
        self._joules: float | None = None
        self._closed = False

    def __enter__(self) -> Accounting:
        if self._reporter is not None:
            self._reporter.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.close("failed")

    def join(self, launch: str, publish_to: Sequence[StepObserver] = ()) -> None:
        """Attach this machine's account to the launch id that all ranks share.

        Rank 0 also passes its measurements to the observers in `publish_to`.
        """
        self._publish_to = tuple(publish_to)
        self._update(launch=launch)

    def watching(self) -> AbstractContextManager[None]:
        """Within this context, collectives are timed as communication."""
        return watch_collectives(self.clock, self._device)

    def begin(self, step: int) -> None:
        self._close_window()
        # Earlier time (loading, compiling) counts in the account but not in the steps.
        self.clock.take()
        self._opened = time.monotonic()
        self._joules = self._energy().joules
        self._first = step if self._first is None else min(self._first, step)
        self._step = step
        if self._rank_info.rank == 0:
            self._metrics.begin(step)
        self._update(state="running", first_step=self._first, step=step)

    def on_step_end(self, record: StepRecord) -> None:
        self._step, self._taken = record.step, self._taken + 1
        self._update(step=self._step, taken=self._taken)
        self._open.append(record.step)
        if time.monotonic() - self._opened >= self._window:
            self._close_window()

    def flush(self) -> None:
        if self._throttle.due():
            self._write_metrics()

    def commit(self, step: int) -> None:
        self._close_window()
        if self._rank_info.rank == 0:
            self._metrics.commit(step)

    def close(self, ending: Ending) -> None:
        """The launch ends; only the first call counts."""
        if self._closed:
            return
        self._closed = True
        self._update(state=ending)
        self._close_window()
        self._write_metrics()
        if self._reporter is not None:
            self._reporter.close()

    def _close_window(self) -> None:
        """Record the steps since the last record. Without any, their time goes to the next record."""
        if not self._open:
            return
        steps, self._open = self._open, []
        now = time.monotonic()
        seconds, self._opened = now - self._opened, now
        split = self.clock.take()
        if self._rank_info.rank != 0:
            return
        energy, before = self._energy(), self._joules
        self._joules = energy.joules
        rate = len(steps) * self._tokens / seconds
        flops = rate * self._flops.per_token
        self.latest = record = MetricsRecord(
            first_step=steps[0],
            step=steps[-1],
            time=time.time(),
            seconds=seconds,
            tokens_per_second=rate,
            flops_per_second=flops,
            mfu=self._flops.utilisation(flops),
            convention=self._flops.convention,
            memory=memory_held(self._device),
            split=split,
            joules=None if energy.joules is None or before is None else energy.joules - before,
            energy=energy.basis,
        )
        self._metrics.add(record)
        for observer in self._publish_to:
            observer.on_scalars(record.step, record.time, _scalars(record))

    def _write_metrics(self) -> None:
        """Write the records since the newest checkpoint. If the store is unavailable, the next write contains them."""
        if self._rank_info.rank != 0:
            return
        try:
            self._metrics.flush()
        except StoreError as error:
            print(f"the metrics of this launch are not up to date: {error}", file=sys.stderr)

    def _energy(self) -> Energy:
        """This machine's energy since the launch began."""
        return total([] if self._reporter is None else self._reporter.energy())

    def _update(self, **changes: Any) -> None:
        if self._reporter is not None:
            self._reporter.update(**changes)


def _scalars(record: MetricsRecord) -> dict[str, float]:
    """The values that a dashboard shows, by tag; times and joules are per step."""
    steps = record.step - record.first_step + 1
    tags = {
        "speed/tokens_per_second": record.tokens_per_second,
        "speed/model_flops_per_second": record.flops_per_second,
        "memory/current_bytes": float(record.memory.current),
        "memory/peak_bytes": float(record.memory.peak),
    }
    tags |= {f"seconds/{part}": seconds / steps for part, seconds in asdict(record.split).items()}
    if record.mfu != "unknown":
        tags["speed/mfu"] = record.mfu
    if record.joules is not None:
        tags["energy/joules"] = record.joules / steps
    return tags
