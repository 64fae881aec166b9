"""Collectives of tensor parallelism with their gradients (Shoeybi et al. 2019; Korthikanti et al. 2022, section 4).

Activations are (B, S, d). Sharded along the sequence, they are (B, S / t, d) on each of t tensor ranks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def copied(x: Tensor, group: Any) -> Tensor:
    """Return `x`; all-reduce its gradient over the group (f in Megatron's papers)."""
    return _Copied.apply(x, group)


def summed(x: Tensor, group: Any) -> Tensor:
    """All-reduce `x` over the group; its gradient is unchanged (the conjugate of `copied`)."""
    return _Summed.apply(x, group)


def gathered(x: Tensor, group: Any) -> Tensor:
    """All-gather (B, S / t, d) of each rank to (B, S, d); reduce-scatter the gradient."""
    return _Gathered.apply(x, group)


def scattered(x: Tensor, group: Any) -> Tensor:
    """Reduce-scatter (B, S, d) to (B, S / t, d) on each rank; all-gather the gradient."""
    return _Scattered.apply(x, group)


def portioned(x: Tensor, group: Any) -> Tensor:
    """This rank's (B, S / t, d) of a replicated `x`; the gradient is all-gathered, not summed."""
    return _Portioned.apply(x, group)


def all_reduced(x: Tensor, group: Any) -> Tensor:
    """The sum over the group, outside of autograd."""
    result = x.contiguous().clone()
    distributed.all_reduce(result, group=group)
    return result


def _all_gathered(x: Tensor, group: Any) -> Tensor:
    part = x.transpose(0, 1).contiguous()
    whole = part.new_empty((part.shape[0] * distributed.get_world_size(group), *part.shape[1:]))
    distributed.all_gather_into_tensor(whole, part, group=group)
    # Make it contiguous once; otherwise each following matmul copies it.
    return whole.transpose(0, 1).contiguous()


def _reduce_scattered(x: Tensor, group: Any) -> Tensor:
    whole = x.transpose(0, 1).contiguous()
    part = whole.new_empty((whole.shape[0] // distributed.get_world_size(group), *whole.shape[1:]))
    distributed.reduce_scatter_tensor(part, whole, group=group)
    return part.transpose(0, 1)


def _portion(x: Tensor, group: Any) -> Tensor:
    ranks, rank = distributed.get_world_size(group), distributed.get_rank(group)
    return x.chunk(ranks, dim=1)[rank].contiguous()


class _Copied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return all_reduced(gradient, ctx.group), None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        return all_reduced(x, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return _all_gathered(x, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _reduce_scattered(gradient, ctx.group), None


class _Scattered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return _reduce_scattered(x, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _all_gathered(gradient, ctx.group), None


class _Portioned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return _portion(x, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _all_gathered(gradient, ctx.group), None
