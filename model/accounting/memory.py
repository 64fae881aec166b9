"""The current and peak memory of a rank."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Memory:
    """Current bytes, and peak bytes since the process began; `of` is what they count.

    "resident": the resident memory of the process, including libraries. "cuda tensors": memory that PyTorch's allocator
    has handed out on this rank's device, without its reserve, CUDA's context and NCCL's buffers.
    """

    current: int
    peak: int
    of: Literal["resident", "cuda tensors"]


def memory_held(device: Literal["cpu", "cuda"], status: Path = STATUS) -> Memory:
    """The memory of this rank on its compute device.

    Raises ValueError when the kernel's file `status` lacks the values (proc(5): VmRSS and VmHWM, in kibibytes).
    """
    if device == "cuda":
        return Memory(torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated(), "cuda tensors")
    kibibytes = {}
    for line in status.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            kibibytes[name] = int(value.split()[0])
    if missing := {"VmRSS", "VmHWM"} - set(kibibytes):
        raise ValueError(f"{status} has no line {min(missing)}; memory is read on Linux only")
    return Memory(kibibytes["VmRSS"] * 1024, kibibytes["VmHWM"] * 1024, "resident")
