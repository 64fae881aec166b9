"""Cross-entropy of logits, whole or sharded along the vocabulary, without a copy of them in fp32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional

# Logits converted to fp32 at a time: as many as fit CPU caches; on a GPU, enough to keep it busy.
LOGITS_AT_A_TIME = {"cpu": 2**18, "cuda": 2**24}


def cross_entropy(logits: Tensor, labels: Tensor, group: Any = None) -> Tensor:
    """Mean cross-entropy in nats, a scalar in fp32, the same on every rank of `group`.

    `logits` (B, S, V / t), of any precision, are this rank's contiguous part of the vocabulary; without a group, all of
    it. `labels` (B, S) are int64 token ids. Logits are never gathered (Shoeybi et al. 2019, section 3). Needs memory
    for the logits and their gradient, both in the precision of the logits; sums are in fp32.
    """
    logits, labels = logits.flatten(0, 1), labels.flatten()
    if group is None and torch.compiler.is_compiling():
        # The compiler generates the same passes, and keeps no logits in fp32 either.
        return functional.cross_entropy(logits.float(), labels)
    loss: Tensor = _CrossEntropy.apply(logits, labels, group)
    return loss


class _CrossEntropy(torch.autograd.Function):
    """log Σ exp z - z_y for logits z, less their maximum, and label y; the gradient is exp z / Σ exp z - [y]."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, group: Any) -> Tensor:
        part = logits.shape[-1]
        local, mine = labels, torch.ones_like(labels, dtype=torch.bool)
        if group is not None:
            local = labels - part * distributed.get_rank(group)
            mine = (local >= 0) & (local < part)
            local = local.where(mine, 0)
        largest, total = torch.empty(2, len(labels), device=logits.device)
        for rows in _stretches(logits):
            largest[rows] = logits[rows].amax(-1)
            total[rows] = (logits[rows] - largest[rows, None]).exp_().sum(-1)
        chosen = logits.gather(-1, local[:, None]).squeeze(-1).float().where(mine, 0)
        if group is not None:
            found = torch.stack([largest, total, chosen])
            every = found.new_empty(distributed.get_world_size(group) * len(found), len(labels))
            distributed.all_gather_into_tensor(every, found, group=group)
            of_largest, of_total, of_chosen = every.unflatten(0, (-1, 3)).unbind(1)
            largest, chosen = of_largest.amax(0), of_chosen.sum(0)
            total = (of_total * (of_largest - largest).exp()).sum(0)
        ctx.save_for_backward(logits, local, mine, largest, total)
        return (total.log() + (largest - chosen)).mean()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        logits, local, mine, largest, total = ctx.saved_tensors
        result, each = torch.empty_like(logits), gradient / len(logits)
        for rows in _stretches(logits):
            wide = (logits[rows] - largest[rows, None]).exp_().mul_((each / total[rows])[:, None])
            wide[torch.arange(len(wide), device=wide.device), local[rows]] -= mine[rows] * each
            result[rows] = wide
        return result, None, None


def _stretches(logits: Tensor) -> Iterator[slice]:
    rows = max(1, LOGITS_AT_A_TIME[logits.device.type] // logits.shape[-1])
    for start in range(0, len(logits), rows):
        yield slice(start, start + rows)
