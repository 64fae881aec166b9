"""The energy that a machine's devices use: measured where the hardware tells it, estimated from their power otherwise.

Three sources, the first that there is:
- NVML's energy counter of each GPU (Volta and later), or else its power, added up between readings;
- RAPL, the processor's own counters, through Linux's powercap files. They are the whole package's, other programs'
  work included, and since 2020 readable by root alone on most systems;
- the rated power of the devices times the time. There is no such figure for a processor that nobody rated here: its
  energy is then unknown, and not made up.
"""

from __future__ import annotations

import importlib
import re
import time
from collections import Counter as Counted
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

POWERCAP = Path("/sys/class/powercap")
Basis = Literal["measured", "estimated", "unknown"]


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules since a meter was made, None when unknown; `by` says what told them."""

    joules: float | None
    basis: Basis
    by: str


def total(energies: Sequence[Energy]) -> Energy:
    """The sum of several; unknown when one of them is, and measured only when all are."""
    by = Counted(energy.by for energy in energies)
    names = "; ".join(f"{count} × {name}" if count > 1 else name for name, count in by.items())
    joules = [energy.joules for energy in energies if energy.joules is not None]
    if not energies or len(joules) < len(energies):
        return Energy(None, "unknown", names)
    measured = all(energy.basis == "measured" for energy in energies)
    return Energy(sum(joules), "measured" if measured else "estimated", names)


class Meter(Protocol):
    """Counts from the moment it is made. Read it at least every few minutes: counters wrap around."""

    def read(self) -> Energy:
        """The energy so far; never less than before."""
        ...


class CounterMeter:
    """Hardware counters of microjoules, each of which begins again at 0 after its `range` microjoules."""

    def __init__(self, counters: Sequence[Counter], by: str) -> None:
        self._counters, self._by = counters, by
        self._last = [counter.read() for counter in counters]
        self._microjoules = 0

    def read(self) -> Energy:
        for number, counter in enumerate(self._counters):
            now = counter.read()
            gone = now - self._last[number]
            self._microjoules += gone if gone >= 0 else gone + counter.range
            self._last[number] = now
        return Energy(self._microjoules / 1e6, "measured", self._by)


@dataclass(frozen=True)
class Counter:
    """`read` gives microjoules that grow up to `range` and then begin again."""

    read: Callable[[], int]
    range: int


class PowerMeter:
    """The power that `watts` tells, added up between readings by the trapezoid rule."""

    def __init__(self, watts: Callable[[], float], by: str, now: Callable[[], float] = time.monotonic) -> None:
        self._watts, self._by, self._now = watts, by, now
        self._joules, self._last = 0.0, (now(), watts())

    def read(self) -> Energy:
        then, before = self._last
        self._last = now, watts = self._now(), self._watts()
        self._joules += (now - then) * (before + watts) / 2
        return Energy(self._joules, "measured", self._by)


class RatedMeter:
    """An estimate: rated watts times the time; unknown where no rating is known."""

    def __init__(self, watts: float | None, of: str, now: Callable[[], float] = time.monotonic) -> None:
        self._watts, self._of, self._now, self._began = watts, of, now, now()

    def read(self) -> Energy:
        if self._watts is None:
            return Energy(None, "unknown", f"no meter and no rated power for {self._of}")
        joules = self._watts * (self._now() - self._began)
        return Energy(joules, "estimated", f"rated {self._watts:g} W of {self._of} times the time")


def meters_of_machine(
    gpus: Sequence[str], rated_watts: float | None, devices: str, powercap: Path = POWERCAP, nvml: Any = None
) -> tuple[list[Meter], list[str]]:
    """The meters of this machine's devices, and what somebody should be told once about those that are missing.

    `gpus` are the UUIDs ("GPU-…") of the GPUs that the run uses here, none on a CPU run; `devices` is the name of all
    devices together and `rated_watts` the sum of their ratings. `nvml` stands in for the module `pynvml` in tests.
    """
    meters: list[Meter] = []
    notes: list[str] = []
    if gpus:
        found, note = nvml_meters(gpus, nvml)
        meters += found or [RatedMeter(rated_watts, devices)]
        notes += [note] if note else []
    package, note = rapl_meter(powercap)
    if package is not None:
        meters.append(package)
    elif not gpus:
        meters.append(RatedMeter(rated_watts, devices))
    if note:
        notes.append(note)
    return meters, notes


def nvml_meters(gpus: Sequence[str], nvml: Any = None) -> tuple[list[Meter], str]:
    """A meter for each GPU through NVML, or none and why.

    `nvmlDeviceGetTotalEnergyConsumption` gives millijoules since the driver was loaded, in 64 bits;
    `nvmlDeviceGetPowerUsage` gives milliwatts.
    """
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return [], "GPU energy is estimated: the package nvidia-ml-py is not installed"
    try:
        nvml.nvmlInit()
        return [_gpu_meter(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid)) for uuid in gpus], ""
    except nvml.NVMLError as error:
        return [], f"GPU energy is estimated: NVML says {error}"


def rapl_meter(powercap: Path = POWERCAP) -> tuple[Meter | None, str]:
    """The meter of all processor packages and their memory, or none and why.

    Zones are named in Linux's `power/powercap/powercap.rst`: a `package` holds its `core` and `uncore`, which are not
    counted again; `dram` lies beside it; `psys` is the whole board, packages included, and left out.
    """
    zones = sorted(zone for zone in powercap.glob("intel-rapl:*") if _counts(zone))
    if not zones:
        return None, f"processor energy is not measured: {powercap} lists no package (RAPL)"
    try:
        counters = [_zone_counter(zone) for zone in zones]
        names = ", ".join((zone / "name").read_text().strip() for zone in zones)
        return CounterMeter(counters, f"RAPL {names}, all programs of the machine"), ""
    except PermissionError as error:
        return None, (
            f"processor energy is not measured: {error.filename} may be read by root alone; allow it with "
            f"`chmod a+r {powercap}/intel-rapl:*/energy_uj`"
        )


def _gpu_meter(nvml: Any, handle: Any) -> Meter:
    name = nvml.nvmlDeviceGetName(handle)
    try:
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError_NotSupported:
        return PowerMeter(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3, f"NVML power of {name}, added up")
    counter = Counter(lambda: 1000 * nvml.nvmlDeviceGetTotalEnergyConsumption(handle), 1000 * 2**64)
    return CounterMeter([counter], f"NVML energy counter of {name}")


def _counts(zone: Path) -> bool:
    name = (zone / "name").read_text().strip()
    top = re.fullmatch(r"intel-rapl:\d+", zone.name) is not None
    return name.startswith("package") if top else name == "dram"


def _zone_counter(zone: Path) -> Counter:
    return Counter(
        lambda: int((zone / "energy_uj").read_text()),
        int((zone / "max_energy_range_uj").read_text()),
    )
