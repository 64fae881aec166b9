"""GPUs by name, with the figures of their data sheets. The figures of a device outside the table are never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Device:
    """Figures of one SXM GPU in a machine of eight.

    `memory` is in bytes, decimal as on the data sheet; `peaks` in FLOP/s by precision, without sparsity. In bytes per
    second: memory `bandwidth`; `link` to the other GPUs of the machine (NVLink, one direction); `network`, each GPU's
    share of the adapters of a reference machine, one direction. `watts` is the thermal design power. `reported` holds
    the names that `torch.cuda.get_device_name` returns.
    """

    name: str
    reported: tuple[str, ...]
    memory: float
    peaks: Mapping[str, float] = field(hash=False)
    bandwidth: float
    link: float
    network: float
    watts: float
    source: str

    def peak(self, precision: str) -> float | None:
        """FLOP/s of matmuls in `fp32`, `bf16` or `fp16`; None where the device does not support the precision."""
        return self.peaks.get(precision)


MACHINE = 8  # GPUs that NVLink connects in one machine (DGX-1, DGX A100, DGX H100)

DEVICES = {
    device.name: device
    for device in (
        Device(
            name="v100-32gb",
            reported=("Tesla V100-SXM2-32GB", "Tesla V100-SXM3-32GB"),
            memory=32e9,
            peaks={"fp16": 125e12, "fp32": 15.7e12},
            bandwidth=900e9,
            link=150e9,
            network=6.25e9,
            watts=300,
            source="NVIDIA V100 data sheet (2020); DGX-1: 4 adapters of 100 Gb/s for 8 GPUs",
        ),
        Device(
            name="a100-40gb",
            reported=("NVIDIA A100-SXM4-40GB", "A100-SXM4-40GB"),
            memory=40e9,
            peaks={"bf16": 312e12, "fp16": 312e12, "fp32": 19.5e12},
            bandwidth=1_555e9,
            link=300e9,
            network=25e9,
            watts=400,
            source="NVIDIA A100 data sheet (2021); DGX A100: 8 adapters of 200 Gb/s for 8 GPUs",
        ),
        Device(
            name="a100-80gb",
            reported=("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
            memory=80e9,
            peaks={"bf16": 312e12, "fp16": 312e12, "fp32": 19.5e12},
            bandwidth=2_039e9,
            link=300e9,
            network=25e9,
            watts=400,
            source="NVIDIA A100 data sheet (2021); DGX A100: 8 adapters of 200 Gb/s for 8 GPUs",
        ),
        Device(
            name="h100",
            reported=("NVIDIA H100 80GB HBM3",),
            memory=80e9,
            peaks={"bf16": 989e12, "fp16": 989e12, "fp32": 67e12},
            bandwidth=3_350e9,
            link=450e9,
            network=50e9,
            watts=700,
            source="NVIDIA H100 data sheet, SXM (2023), half of its figures with sparsity; DGX H100: 8 × 400 Gb/s",
        ),
        Device(
            name="h200",
            reported=("NVIDIA H200",),
            memory=141e9,
            peaks={"bf16": 989e12, "fp16": 989e12, "fp32": 67e12},
            bandwidth=4_800e9,
            link=450e9,
            network=50e9,
            watts=700,
            source="NVIDIA H200 data sheet, SXM (2024), half of its figures with sparsity; DGX H200: 8 × 400 Gb/s",
        ),
    )
}


def device_by_name(name: str) -> Device:
    """The device with that name in DEVICES, such as `a100-40gb`. Raises ValueError listing the names."""
    if name not in DEVICES:
        raise ValueError(f"there is no GPU type {name!r}; the types are {', '.join(DEVICES)}")
    return DEVICES[name]


def reported_device(reported: str) -> Device | None:
    """The device that `torch.cuda.get_device_name` reports as `reported`; None when it is unknown.

    The whole name must match: "NVIDIA H100 PCIe", "NVIDIA H200 NVL" and a MIG slice ("NVIDIA H200 MIG 1g.18gb") have
    other peaks.
    """
    return next((device for device in DEVICES.values() if reported in device.reported), None)
