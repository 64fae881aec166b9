"""What decides the bits that a process computes, beside its program and its inputs."""

from __future__ import annotations

import os

import torch


def make_deterministic(threads: int) -> None:
    """Have this process compute the same bits whenever it is started; call it before anything is computed.

    `threads` of a processor cut sums, and so decide their order. On a GPU, kernels without atomic additions are taken,
    and the compiler chooses none by timing them (`torch.use_deterministic_algorithms`).
    """
    torch.set_num_threads(threads)
    # Without it cuBLAS may choose its workspace, and with it the order of sums, anew in every launch.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory that it has not written, so it need not be filled first.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
