"""All that one launch keeps account of: the trainer tells it of steps and checkpoints, and it writes the rest.

    accounting = open_accounting(lake, config, layout, launch)
    with accounting.watching():
        accounting.begin(step)                      # after the resume
        with accounting.clock.measure("data"): ...  # and "compute", "saving"
        accounting.took(step, {"loss": loss})       # after every step
        accounting.commit(step)                     # before a checkpoint is committed
        accounting.close("finished")

Every rank has one and calls it alike; rank 0 writes the metrics and the event files, and the first rank of each
machine that machine's account. No rank waits for another.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from infra.store.lake import Lake
from model.accounting.account import Account, State, write_account
from model.accounting.clock import StepClock, watch_collectives
from model.accounting.energy import Meter, total
from model.accounting.hardware import meters_of_machine
from model.accounting.memory import memory_held
from model.accounting.metrics import Metrics, MetricsRecord, ModelFlops
from model.accounting.tensorboard import EventFiles
from model.configuration import require
from model.cost.devices import reported_device
from model.cost.flops import model_flops

if TYPE_CHECKING:
    from model.architecture import ModelConfig
    from model.layout import Layout
    from model.run import RunConfig

# Seconds. The meters are asked and the store is told at most so often.
WINDOW = 1.0
SHOW = 5.0
CPU_INFORMATION = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a rank sits: on which machine, and which of that machine's `local_ranks` it is."""

    rank: int = 0
    machine: int = 0
    local_rank: int = 0
    local_ranks: int = 1

    def __post_init__(self) -> None:
        require(0 <= self.local_rank < self.local_ranks, f"seat: rank {self.local_rank} of {self.local_ranks} here")


def seat_of_process(environment: Mapping[str, str] = os.environ) -> Seat:
    """The seat that torchrun's variables give (`torch/distributed/run.py`); a process alone without them."""
    names = ("RANK", "GROUP_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if names[0] not in environment:
        return Seat()
    return Seat(*(int(environment[name]) for name in names))


def open_accounting(lake: Lake, config: RunConfig, layout: Layout, launch: str) -> Accounting:
    """The account of this rank in a launch of a run. A GPU that is not in `model.cost.devices` gives MFU "unknown"."""
    device = reported_device(device_name(layout.device))
    training = config.training
    flops = flops_of(config.model, training.sequence_length, training.precision, layout)
    return Accounting(
        lake,
        config.key,
        launch,
        seat_of_process(),
        layout.device,
        tokens=training.batch * training.sequence_length,
        flops=flops,
        rated_watts=None if device is None else device.watts,
    )


def flops_of(config: ModelConfig, sequence_length: int, precision: str, layout: Layout) -> ModelFlops:
    """The model's arithmetic in the full-attention convention, and the peak of all of the layout's devices."""
    counted = model_flops(config, sequence_length)
    device = reported_device(device_name(layout.device))
    peak = None if device is None else device.peak(precision)
    return ModelFlops(counted.total, counted.convention, None if peak is None else peak * layout.ranks)


def device_name(device: Literal["cpu", "cuda"]) -> str:
    """The name of this rank's GPU as CUDA gives it, or of the processor as Linux does."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    if CPU_INFORMATION.exists():
        for line in CPU_INFORMATION.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def gpus_of_machine(seat: Seat) -> list[str]:
    """The UUIDs of the GPUs of this machine's ranks: local rank i computes on device i."""
    return [f"GPU-{torch.cuda.get_device_properties(number).uuid}" for number in range(seat.local_ranks)]


class Accounting:
    """One rank's account of a launch. `tokens` are those of a step over all ranks, `flops` the model's arithmetic.

    `rated_watts` is the rated power of one device, None when unknown: energy that cannot be measured is then unknown.
    `meters` are this machine's, found by `meters_of_machine` unless given.
    """

    def __init__(
        self,
        lake: Lake,
        run: str,
        launch: str,
        seat: Seat,
        device: Literal["cpu", "cuda"],
        tokens: int,
        flops: ModelFlops,
        rated_watts: float | None = None,
        meters: Sequence[Meter] | None = None,
    ) -> None:
        self.clock = StepClock()
        self.latest: MetricsRecord | None = None
        self._lake, self._run, self._launch, self._seat, self._device = lake, run, launch, seat, device
        self._tokens, self._flops, self._rated_watts = tokens, flops, rated_watts
        self._metrics, self._events = Metrics(lake, run), EventFiles(lake, run)
        self._name = device_name(device)
        self._keeps = seat.local_rank == 0
        notes: list[str] = []
        if meters is None and self._keeps:
            rated = None if rated_watts is None else rated_watts * seat.local_ranks
            gpus = gpus_of_machine(seat) if device == "cuda" else []
            meters, notes = meters_of_machine(gpus, rated, f"{seat.local_ranks} × {self._name}")
        self._meters, self._notes = tuple(meters or ()), tuple(notes)
        self._started, self._began = time.time(), time.monotonic()
        self._first: int | None = None
        self._step = self._taken = 0
        self._opened, self._shown = self._began, self._began
        self._open: list[int] = []
        self._joules: float | None = None

    def watching(self) -> AbstractContextManager[None]:
        """Inside, exchanges with other ranks count as communication."""
        return watch_collectives(self.clock, self._device)

    def begin(self, step: int) -> None:
        """The launch goes on after `step`, its newest good checkpoint or one rolled back to."""
        self._close_window()
        # What went before, loading and compiling, is in the account and in no step's time.
        self.clock.take()
        self._opened = time.monotonic()
        self._joules = total([meter.read() for meter in self._meters]).joules
        self._first = step if self._first is None else min(self._first, step)
        self._step = step
        if self._seat.rank == 0:
            self._metrics.begin(step)
            self._events.begin(step)
        self._write("running")

    def took(self, step: int, values: Mapping[str, float]) -> None:
        """A step is done; `values` by tag are shown in TensorBoard beside its speed."""
        self._step, self._taken = step, self._taken + 1
        self._open.append(step)
        if self._seat.rank == 0:
            self._events.add(step, time.time(), values)
        now = time.monotonic()
        if now - self._opened >= WINDOW:
            self._close_window()
        if now - self._shown >= SHOW:
            self._shown = now
            if self._seat.rank == 0:
                self._metrics.show()
                self._events.show()
            self._write("running")

    def commit(self, step: int) -> None:
        """Keep what is known up to the checkpoint after `step`; call it before that checkpoint is committed."""
        self._close_window()
        if self._seat.rank == 0:
            self._metrics.commit(step)
            self._events.commit(step)

    def close(self, state: State) -> None:
        """The launch ends: "finished", "stopped" when it was asked to, or "failed"."""
        self._close_window()
        if self._seat.rank == 0:
            self._metrics.show()
            self._events.show()
        self._write(state)

    def _close_window(self) -> None:
        """Make a record of the steps since the last one; without any, their time goes to the next."""
        if not self._open:
            return
        steps, self._open = self._open, []
        now = time.monotonic()
        seconds, self._opened = now - self._opened, now
        split = self.clock.take()
        if self._seat.rank != 0:
            return
        energy, before = total([meter.read() for meter in self._meters]), self._joules
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
        self._events.add(record.step, record.time, _tags(record))

    def _write(self, state: State) -> None:
        if not self._keeps:
            return
        energy = tuple(meter.read() for meter in self._meters)
        account = Account(
            launch=self._launch,
            machine=self._seat.machine,
            state=state,
            started=self._started,
            updated=time.time(),
            seconds=time.monotonic() - self._began,
            device=self._device,
            device_name=self._name,
            devices=self._seat.local_ranks,
            rated_watts=self._rated_watts,
            first_step=self._first,
            step=self._step,
            taken=self._taken,
            energy=energy,
            notes=(*self._notes, *(one.note for one in energy if one.note)),
        )
        write_account(self._lake, self._run, account)


def _tags(record: MetricsRecord) -> dict[str, float]:
    """What TensorBoard shows of a record; times and joules are those of one step."""
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
