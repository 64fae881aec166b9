"""Meters of energy, on a made-up RAPL tree and a made-up NVML."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.accounting.energy import (
    Counter,
    CounterMeter,
    Energy,
    LastingMeter,
    PowerMeter,
    RatedMeter,
    total,
)
from model.accounting.hardware import meters_of_machine, nvml_meters, rapl_meter

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


def test_a_counter_that_begins_anew_has_not_gone_around() -> None:
    counts = clock_of(5_000_000, 6_000_000, 250_000, 1_250_000)
    meter = CounterMeter([Counter(lambda: int(counts()), 1000 * 2**64)], "NVML")
    assert [meter.read().joules for _ in range(3)] == [1.0, 1.25, 2.25], "a reset GPU has not used 2^64 millijoules"


class Lost(Exception):
    """What a made-up device raises."""


def failing(*joules: float) -> Callable[[], float]:
    left = iter(joules)

    def read() -> float:
        if (found := next(left, None)) is None:
            raise Lost("GPU is lost")
        return found

    return read


def counting(*joules: float) -> CounterMeter:
    """A counter that tells these joules, and then fails."""
    read = failing(*joules)
    return CounterMeter([Counter(lambda: int(read() * 1e6), 1 << 64)], "a counter")


def test_a_meter_that_fails_is_estimated_from_then_on() -> None:
    meter = LastingMeter(counting(7, 7, 17), 100.0, (Lost,), clock_of(0, 2, 5, 9))
    found = [meter.read() for _ in range(3)]
    assert [one.joules for one in found] == [10, 10 + 300, 10 + 700] and found[0] == Energy(10, "measured", "a counter")
    assert {one.basis for one in found[1:]} == {"estimated"}
    said = "a counter failed (GPU is lost); its energy since then is estimated as 100 W (rated) times elapsed time"
    assert [one.note for one in found] == ["", said, said]


def test_a_meter_that_nobody_rated_goes_on_at_its_mean_power() -> None:
    meter = LastingMeter(counting(0, 0, 30), None, (Lost,), clock_of(0, 2, 6))
    assert [meter.read().joules for _ in range(2)] == [30, 30 + 4 * 15]
    meter = LastingMeter(counting(0, 0), None, (Lost,), clock_of(0, 2))
    said = "a counter failed (GPU is lost); its energy since then is unknown"
    assert meter.read() == Energy(None, "unknown", "a counter", said)


def test_other_errors_are_not_hidden() -> None:
    meter = LastingMeter(PowerMeter(failing(1.0, 1.0), "power"), 100.0, (OSError,))
    with pytest.raises(Lost):
        meter.read()


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
    assert len(notes) == 1 and "only root can read" in notes[0] and "allow it with `chmod a+r" in notes[0]
    assert f"{powercap}/intel-rapl:0/energy_uj" in notes[0]


def test_a_package_that_cannot_be_read_any_more_is_estimated(powercap: Path) -> None:
    meter, _ = rapl_meter(powercap, rated_watts=205.0)
    assert meter is not None
    (powercap / "intel-rapl:1" / "energy_uj").unlink()
    found = meter.read()
    assert found.basis == "estimated" and "No such file" in found.note and "205 W" in found.note


def test_a_package_that_tells_rubbish_is_no_meter(powercap: Path) -> None:
    (powercap / "intel-rapl:0" / "energy_uj").write_text("\n")
    meter, note = rapl_meter(powercap)
    assert meter is None and note.startswith("CPU energy is not measured: invalid literal")


def test_without_powercap_a_processor_is_estimated_only_when_it_is_rated(tmp_path: Path) -> None:
    meters, notes = meters_of_machine([], 205.0, "1 × Xeon", tmp_path / "absent")
    found = meters[0].read()
    assert found.basis == "estimated" and found.by == "rated 205 W of 1 × Xeon times elapsed time"
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
    assert meter.read() == Energy(24_000, "estimated", "rated 400 W of 8 × A100 times elapsed time")


class Nvml:
    """Two GPUs, the second of which is too old for an energy counter."""

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):
        pass

    def __init__(self) -> None:
        self.millijoules, self.milliwatts = 5_000_000_000, 250_000
        self.lost = False

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
        return self._told(self.millijoules)

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return self._told(self.milliwatts)

    def _told(self, value: int) -> int:
        if self.lost:
            raise self.NVMLError("GPU is lost")
        return value


def test_gpus_by_their_counter_or_else_their_power() -> None:
    nvml = Nvml()
    (counted, added), note = nvml_meters(["GPU-1", "GPU-2"], 700.0, nvml)
    assert note == "" and counted.read() == Energy(0.0, "measured", "NVML energy counter of NVIDIA H200")
    nvml.millijoules += 123_456
    assert counted.read().joules == 123.456
    assert added.read().by == "NVML power of Tesla K80, integrated" and added.read().basis == "measured"


def test_a_gpu_that_is_lost_is_estimated() -> None:
    nvml = Nvml()
    meters, _ = nvml_meters(["GPU-1", "GPU-2"], 700.0, nvml)
    nvml.lost = True
    found = [meter.read() for meter in meters]
    assert {one.basis for one in found} == {"estimated"}
    assert all("failed (GPU is lost)" in one.note and "700 W" in one.note for one in found)


def test_without_the_package_one_is_told_how_to_have_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meters, notes = meters_of_machine(["GPU-1"], 700.0, "1 × NVIDIA H200", tmp_path)
    assert [meter.read().basis for meter in meters] == ["estimated"]
    assert "install it with `pip install nvidia-ml-py`" in notes[0]


def test_the_real_package_does_no_harm_where_there_is_no_such_gpu() -> None:
    """Without a driver as well; and it has what the made-up one has."""
    nvml = pytest.importorskip("pynvml", reason="the package nvidia-ml-py is not installed yet: run `make setup`")
    assert all(hasattr(nvml, name) for name in dir(Nvml) if not name.startswith("_"))
    meters, note = nvml_meters(["GPU-00000000-0000-0000-0000-000000000000"], 700.0)
    assert meters == [] and note.startswith("GPU energy is not measured: NVML says ")


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
    assert notes[0] == "GPU energy is not measured: NVML says Not Found" and "RAPL" in notes[1]


def test_a_sum_is_as_good_as_its_worst_part() -> None:
    measured, estimated = Energy(1.0, "measured", "a"), Energy(2.0, "estimated", "b")
    assert total([measured, measured]) == Energy(2.0, "measured", "2 × a")
    assert total([measured, estimated]) == Energy(3.0, "estimated", "a; b")
    assert total([measured, Energy(None, "unknown", "c")]) == Energy(None, "unknown", "a; c")
    assert total([]).basis == "unknown"
