"""The meters of this machine's devices: measured where the hardware tells it, estimated from their power otherwise.

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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.accounting.energy import Counter, CounterMeter, LastingMeter, Meter, PowerMeter, RatedMeter

POWERCAP = Path("/sys/class/powercap")


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
    """A meter for each GPU through NVML, or none and why; `rated_watts` is one GPU's power, should its meter fail.

    `nvmlDeviceGetTotalEnergyConsumption` gives millijoules since the driver was loaded, in 64 bits;
    `nvmlDeviceGetPowerUsage` gives milliwatts.
    """
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return [], (
                "GPU energy is not measured: the package nvidia-ml-py is not installed; "
                "have it measured with `pip install nvidia-ml-py`"
            )
    try:
        nvml.nvmlInit()
        meters = [_gpu_meter(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid)) for uuid in gpus]
        return [LastingMeter(meter, rated_watts, (nvml.NVMLError,)) for meter in meters], ""
    except nvml.NVMLError as error:
        return [], f"GPU energy is not measured: NVML says {error}"


def rapl_meter(powercap: Path = POWERCAP, rated_watts: float | None = None) -> tuple[Meter | None, str]:
    """The meter of all processor packages and their memory, or none and why; `rated_watts` stand in should it fail.

    Zones are named in Linux's `power/powercap/powercap.rst`: a `package` holds its `core` and `uncore`, which are not
    counted again; `dram` lies beside it; `psys` is the whole board, packages included, and left out.
    """
    # What a file that cannot be read, or holds no number, raises.
    errors = (OSError, ValueError)
    try:
        zones = sorted(zone for zone in powercap.glob("intel-rapl:*") if _counts(zone))
        if not zones:
            return None, f"processor energy is not measured: {powercap} lists no package (RAPL)"
        names = ", ".join((zone / "name").read_text().strip() for zone in zones)
        meter = CounterMeter([_zone_counter(zone) for zone in zones], f"RAPL {names}, all programs of the machine")
        return LastingMeter(meter, rated_watts, errors), ""
    except PermissionError as error:
        return None, (
            f"processor energy is not measured: {error.filename} may be read by root alone; allow it with "
            f"`chmod a+r {powercap}/intel-rapl:*/energy_uj`"
        )
    except errors as error:
        return None, f"processor energy is not measured: {error}"


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
