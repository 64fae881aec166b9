"""How much memory a rank holds, and the most that it held."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes now and at most since the process began; `of` says what is counted.

    "resident": the whole process in main memory, libraries included. "cuda tensors": what PyTorch's allocator has
    given out on this rank's device; its reserve, CUDA's own context and NCCL's buffers come on top.
    """

    current: int
    peak: int
    of: Literal["resident", "cuda tensors"]


def memory_held(device: Literal["cpu", "cuda"], status: Path = STATUS) -> Memory:
    """The memory of this rank, on the device that it computes on.

    Raises ValueError when the kernel's file `status` does not say it (proc(5): VmRSS and VmHWM, in kibibytes).
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
