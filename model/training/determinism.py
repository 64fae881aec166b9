"""Settings that make a process compute the same bits in every launch."""

from __future__ import annotations

import os

import torch


def make_deterministic(threads: int) -> None:
    """Make this process compute the same bits in every launch. Call it before any computation.

    The number of CPU `threads` determines how sums are split, and so their order. On a GPU, kernels without atomic
    additions are used, and the compiler does not select kernels by timing (`torch.use_deterministic_algorithms`).
    """
    torch.set_num_threads(threads)
    # Otherwise cuBLAS may choose another workspace, and so another order of sums, in every launch.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # No code here reads uninitialised memory, so PyTorch need not fill it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
