"""How a run is executed: engine, ranks and micro-batch, and the command that starts it. No part of a run's identity."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Layout:
    """`micro_batch` counts sequences of one forward and backward on one rank."""

    engine: Literal["native", "deepspeed"]
    ranks: int
    micro_batch: int

    def __post_init__(self) -> None:
        if self.engine not in ("native", "deepspeed"):
            raise ValueError(f"engine is {self.engine!r}; it must be 'native' or 'deepspeed'")
        if self.ranks < 1 or self.micro_batch < 1:
            raise ValueError(f"ranks {self.ranks} and micro_batch {self.micro_batch} must be at least 1")
        if self.engine == "native" and self.ranks != 1:
            raise ValueError(f"the native engine is one process, not {self.ranks}; use the engine 'deepspeed'")

    def accumulation(self, batch: int) -> int:
        """Micro-batches of a rank in a step of `batch` sequences. Raises ValueError when they do not come out even."""
        accumulation, rest = divmod(batch, self.micro_batch * self.ranks)
        if rest or accumulation < 1:
            raise ValueError(
                f"a batch of {batch} sequences is not a multiple of micro_batch {self.micro_batch} times {self.ranks} "
                "ranks; change the micro-batch or the ranks"
            )
        return accumulation


def launch_command(lake_uri: str, run: str, layout: Layout, cache: Path) -> list[str]:
    """The command that starts a run, or resumes it, on this machine. Its working directory must be the project's."""
    what = ["model.train", "--lake", lake_uri, "--run-key", run, "--engine", layout.engine]
    what += ["--micro-batch", str(layout.micro_batch), "--cache", str(cache)]
    if layout.engine == "native":
        return [sys.executable, "-m", *what]
    # The option is not called --run, which torchrun would take for an abbreviation of its own --run-path.
    agent = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(layout.ranks)]
    return [*agent, "-m", *what]


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends: a rank must not outlive its launcher."""
    parent = os.getppid()
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
