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
    """The global rank, its machine, and its local rank among that machine's `local_ranks`."""

    rank: int = 0
    machine: int = 0
    local_rank: int = 0
    local_ranks: int = 1

    def __post_init__(self) -> None:
        require(
            0 <= self.local_rank < self.local_ranks,
            f"rank info: local_rank is {self.local_rank}; it must be at least 0 and below {self.local_ranks}, the "
            "number of local ranks",
        )


def rank_info_of_process(environment: Mapping[str, str] = os.environ) -> RankInfo:
    """The rank from the environment variables of torchrun or `model.agent`; a single process without them."""
    names = ("RANK", "GROUP_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if names[0] not in environment:
        return RankInfo()
    return RankInfo(*(int(environment[name]) for name in names))


def device_name(device: Literal["cpu", "cuda"]) -> str:
    """The name of this machine's first GPU, from CUDA, or of its CPU, from Linux.

    Calling it before a rank has selected its GPU does not start anything on a GPU.
    """
    if device == "cuda":
        return torch.cuda.get_device_name(0)
    if CPU_INFORMATION.exists():
        for line in CPU_INFORMATION.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def gpus_of_machine(rank_info: RankInfo) -> list[str]:
    """The UUIDs of the GPUs of this machine's ranks: local rank i uses device i."""
    return [f"GPU-{torch.cuda.get_device_properties(number).uuid}" for number in range(rank_info.local_ranks)]
