"""A rank's position among machines, and the names of its machine's devices."""

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
class RankInfo:
    """The global rank, its machine, and which of that machine's `local_ranks` it is."""

    rank: int = 0
    machine: int = 0
    local_rank: int = 0
    local_ranks: int = 1

    def __post_init__(self) -> None:
        require(
            0 <= self.local_rank < self.local_ranks, f"rank info: rank {self.local_rank} of {self.local_ranks} here"
        )


def rank_info_of_process(environment: Mapping[str, str] = os.environ) -> RankInfo:
    """From the environment variables of torchrun or `model.agent`; a single process without them."""
    names = ("RANK", "GROUP_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if names[0] not in environment:
        return RankInfo()
    return RankInfo(*(int(environment[name]) for name in names))


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


def gpus_of_machine(rank_info: RankInfo) -> list[str]:
    """The UUIDs of the GPUs of this machine's ranks: local rank i computes on device i."""
    return [f"GPU-{torch.cuda.get_device_properties(number).uuid}" for number in range(rank_info.local_ranks)]
