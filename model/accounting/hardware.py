"""The energy meters of this machine's devices: measured if the hardware supports it, otherwise estimated.

The first available of three sources is used:
- NVML's energy counter of each GPU (Volta and later), or its power, integrated between readings;
- RAPL, the CPU's own counters, through Linux's powercap files. They cover the whole package, including other programs,
  and on most systems only root can read them since 2020;
- the rated power of the devices times elapsed time. The energy of a CPU without a known rating is unknown.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.accounting.energy import Counter, CounterMeter, LastingMeter, Meter, PowerMeter, RatedMeter

POWERCAP = Path("/sys/class/powercap")


def meters_of_machine(
    gpus: Sequence[str], rated_watts: float | None, devices: str, powercap: Path = POWERCAP, nvml: Any = None
) -> tuple[list[Meter], list[str]]:
    """The meters of this machine's devices, and notes for the user about missing ones.

    `gpus` are the UUIDs ("GPU-…") of the GPUs that the run uses on this machine, empty for a CPU run. `devices` is the
    name of all devices together, and `rated_watts` the sum of their ratings. `nvml` replaces the module `pynvml` in
    tests.
    """
    meters: list[Meter] = []
    notes: list[str] = []
    if gpus:
        found, note = nvml_meters(gpus, None if rated_watts is None else rated_watts / len(gpus), nvml)
        meters += found or [RatedMeter(rated_watts, devices)]
        notes += [note] if note else []
    package, note = rapl_meter(powercap, None if gpus else rated_watts)
    if package is not None:
        meters.append(package)
    elif not gpus:
        meters.append(RatedMeter(rated_watts, devices))
    if note:
        notes.append(note)
    return meters, notes


def nvml_meters(gpus: Sequence[str], rated_watts: float | None, nvml: Any = None) -> tuple[list[Meter], str]:
    """An NVML meter for each GPU, or none and the reason. `rated_watts` is one GPU's power, used if its meter fails.

    `nvmlDeviceGetTotalEnergyConsumption` returns millijoules since the driver was loaded, in 64 bits;
    `nvmlDeviceGetPowerUsage` returns milliwatts.
    """
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return [], (
                "GPU energy is not measured: the package nvidia-ml-py is not installed; "
                "install it with `pip install nvidia-ml-py`"
            )
    try:
        nvml.nvmlInit()
        meters = [_gpu_meter(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid)) for uuid in gpus]
        return [LastingMeter(meter, rated_watts, (nvml.NVMLError,)) for meter in meters], ""
    except nvml.NVMLError as error:
        return [], f"GPU energy is not measured: NVML says {error}"


def rapl_meter(powercap: Path = POWERCAP, rated_watts: float | None = None) -> tuple[Meter | None, str]:
    """The meter of all CPU packages and their memory, or None and the reason. `rated_watts` is used if it fails.

    Zones are defined in Linux's `power/powercap/powercap.rst`: a `package` includes its `core` and `uncore`, which are
    not counted again; `dram` is separate; `psys` is the whole board, packages included, and is left out.
    """
    # Raised for a file that cannot be read or does not contain a number.
    errors = (OSError, ValueError)
    try:
        zones = sorted(zone for zone in powercap.glob("intel-rapl:*") if _counts(zone))
        if not zones:
            return None, f"CPU energy is not measured: {powercap} lists no package (RAPL)"
        names = ", ".join((zone / "name").read_text().strip() for zone in zones)
        meter = CounterMeter([_zone_counter(zone) for zone in zones], f"RAPL {names}, all programs of the machine")
        return LastingMeter(meter, rated_watts, errors), ""
    except PermissionError as error:
        return None, (
            f"CPU energy is not measured: only root can read {error.filename}; allow it with "
            f"`chmod a+r {powercap}/intel-rapl:*/energy_uj`"
        )
    except errors as error:
        return None, f"CPU energy is not measured: {error}"


def _gpu_meter(nvml: Any, handle: Any) -> Meter:
    name = nvml.nvmlDeviceGetName(handle)
    try:
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError_NotSupported:
        return PowerMeter(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3, f"NVML power of {name}, integrated")
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
