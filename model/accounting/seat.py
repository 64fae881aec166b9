"""Where a rank sits, and what the devices of its machine are called."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from model.configuration import require

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
    """The seat that the variables of torchrun and `model.agent` give; a process alone without them."""
    names = ("RANK", "GROUP_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if names[0] not in environment:
        return Seat()
    return Seat(*(int(environment[name]) for name in names))


def device_name(device: Literal["cpu", "cuda"]) -> str:
    """The name of this machine's first GPU as CUDA gives it, or of the processor as Linux does.

    Asked before a rank has chosen its GPU, it starts nothing on any.
    """
    if device == "cuda":
        return torch.cuda.get_device_name(0)
    if CPU_INFORMATION.exists():
        for line in CPU_INFORMATION.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def gpus_of_machine(seat: Seat) -> list[str]:
    """The UUIDs of the GPUs of this machine's ranks: local rank i computes on device i."""
    return [f"GPU-{torch.cuda.get_device_properties(number).uuid}" for number in range(seat.local_ranks)]
