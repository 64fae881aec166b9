"""Meters of energy, on a made-up RAPL tree and a made-up NVML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.accounting.energy import Energy, PowerMeter, RatedMeter, meters_of_machine, nvml_meters, rapl_meter, total

RANGE = 262_143_328_850  # microjoules, of a Xeon package


def zone(powercap: Path, folder: str, name: str, energy: int, range: int = RANGE) -> Path:
    path = powercap / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy}\n")
    (path / "max_energy_range_uj").write_text(f"{range}\n")
    return path / "energy_uj"


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Two packages with their parts, as Linux lists them side by side, and what must not be counted."""
    for socket in (0, 1):
        zone(tmp_path, f"intel-rapl:{socket}", f"package-{socket}", 1_000_000)
        zone(tmp_path, f"intel-rapl:{socket}:0", "core", 500_000)
        zone(tmp_path, f"intel-rapl:{socket}:1", "dram", 300_000, 65_712_999_613)
    zone(tmp_path, "intel-rapl:2", "psys", 9_000_000)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1_000_000)
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def spend(powercap: Path, **microjoules: int) -> None:
    """Set counters; underscores in the names of zones stand for colons."""
    for name, energy in microjoules.items():
        (powercap / name.replace("_", ":").replace("rapl:", "intel-rapl:", 1) / "energy_uj").write_text(f"{energy}\n")


def test_packages_and_memory_are_counted_and_nothing_twice(powercap: Path) -> None:
    meter, note = rapl_meter(powercap)
    assert meter is not None and note == ""
    assert meter.read() == Energy(0.0, "measured", "RAPL package-0, dram, package-1, dram, all programs of the machine")
    spend(powercap, rapl_0=3_000_000, rapl_1=1_500_000, rapl_0_1=400_000)
    spend(powercap, rapl_0_0=99_000_000, rapl_2=99_000_000)
    assert meter.read().joules == 2.0 + 0.5 + 0.1


def test_a_counter_that_wraps_around_goes_on(powercap: Path) -> None:
    spend(powercap, rapl_0=RANGE - 1_000_000, rapl_0_1=65_712_999_613 - 1)
    meter, _ = rapl_meter(powercap)
    assert meter is not None
    spend(powercap, rapl_0=2_000_000, rapl_0_1=999_999)
    assert meter.read().joules == 3.0 + 1.0
    spend(powercap, rapl_0=3_000_000)
    assert meter.read().joules == 5.0
    # Again, all the way.
    spend(powercap, rapl_0=RANGE)
    spend(powercap, rapl_1=RANGE)
    meter.read()
    spend(powercap, rapl_0=0)
    assert meter.read().joules == pytest.approx(5 + (RANGE - 3_000_000) / 1e6 + (RANGE - 1_000_000) / 1e6)


def test_a_refusal_is_told_once_and_energy_is_unknown(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text

    def refused(path: Path, *arguments: Any, **named: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *arguments, **named)

    monkeypatch.setattr(Path, "read_text", refused)
    meters, notes = meters_of_machine([], None, "2 × Xeon", powercap)
    assert [meter.read().joules for meter in meters] == [None]
    assert meters[0].read() == Energy(None, "unknown", "no meter and no rated power for 2 × Xeon")
    assert len(notes) == 1 and "may be read by root alone; allow it with `chmod a+r" in notes[0]
    assert f"{powercap}/intel-rapl:0/energy_uj" in notes[0]


def test_without_powercap_a_processor_is_estimated_only_when_it_is_rated(tmp_path: Path) -> None:
    meters, notes = meters_of_machine([], 205.0, "1 × Xeon", tmp_path / "absent")
    found = meters[0].read()
    assert found.basis == "estimated" and found.by == "rated 205 W of 1 × Xeon times the time"
    assert len(notes) == 1 and "lists no package" in notes[0]


def clock_of(*readings: float) -> Callable[[], float]:
    left = iter(readings)
    return lambda: next(left)


def test_power_is_added_up_by_trapezoids() -> None:
    watts = clock_of(100, 300, 300, 100)
    meter = PowerMeter(watts, "power", clock_of(0, 2, 3, 7))
    assert [meter.read().joules for _ in range(3)] == [400, 700, 1500]


def test_rated_power_times_the_time() -> None:
    meter = RatedMeter(400.0, "8 × A100", clock_of(10, 70))
    assert meter.read() == Energy(24_000, "estimated", "rated 400 W of 8 × A100 times the time")


class Nvml:
    """Two GPUs, the second of which is too old for an energy counter."""

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):
        pass

    def __init__(self) -> None:
        self.millijoules, self.milliwatts = 5_000_000_000, 250_000

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid not in ("GPU-1", "GPU-2"):
            raise self.NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetName(self, handle: str) -> str:
        return {"GPU-1": "NVIDIA H200", "GPU-2": "Tesla K80"}[handle]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        if handle == "GPU-2":
            raise self.NVMLError_NotSupported("Not Supported")
        return self.millijoules

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return self.milliwatts


def test_gpus_by_their_counter_or_else_their_power() -> None:
    nvml = Nvml()
    (counted, added), note = nvml_meters(["GPU-1", "GPU-2"], nvml)
    assert note == "" and counted.read() == Energy(0.0, "measured", "NVML energy counter of NVIDIA H200")
    nvml.millijoules += 123_456
    assert counted.read().joules == 123.456
    assert added.read().by == "NVML power of Tesla K80, added up" and added.read().basis == "measured"


def test_gpus_are_measured_and_the_processor_beside_them(powercap: Path) -> None:
    meters, notes = meters_of_machine(["GPU-1"], 700.0, "1 × NVIDIA H200", powercap, Nvml())
    assert [meter.read().by for meter in meters] == [
        "NVML energy counter of NVIDIA H200",
        "RAPL package-0, dram, package-1, dram, all programs of the machine",
    ]
    assert notes == []


def test_a_gpu_that_nvml_does_not_know_is_estimated(tmp_path: Path) -> None:
    meters, notes = meters_of_machine(["GPU-7"], 700.0, "1 × NVIDIA H200", tmp_path, Nvml())
    assert [meter.read().basis for meter in meters] == ["estimated"]
    assert notes[0] == "GPU energy is estimated: NVML says Not Found" and "RAPL" in notes[1]


def test_a_sum_is_as_good_as_its_worst_part() -> None:
    measured, estimated = Energy(1.0, "measured", "a"), Energy(2.0, "estimated", "b")
    assert total([measured, measured]) == Energy(2.0, "measured", "2 × a")
    assert total([measured, estimated]) == Energy(3.0, "estimated", "a; b")
    assert total([measured, Energy(None, "unknown", "c")]) == Energy(None, "unknown", "a; c")
    assert total([]).basis == "unknown"
