"""Cross-entropy of logits of which each tensor rank holds a part of the vocabulary."""

from __future__ import annotations

from typing import Any

from torch import Tensor, distributed

from model.parallel.collectives import summed


def vocabulary_parallel_loss(logits: Tensor, labels: Tensor, group: Any) -> Tensor:
    """Mean cross-entropy in nats, a scalar in fp32, the same on every rank of the group.

    `logits` (B, S, V / t) are this rank's consecutive part of the vocabulary, `labels` (B, S) int64 token ids. No rank
    sees whole logits (Shoeybi et al. 2019, section 3).
    """
    wide = logits.float()
    largest = wide.detach().amax(dim=-1)
    distributed.all_reduce(largest, op=distributed.ReduceOp.MAX, group=group)
    wide = wide - largest[..., None]
    partition = summed(wide.exp().sum(dim=-1), group)
    part = wide.shape[-1]
    local = labels - part * distributed.get_rank(group)
    mine = (local >= 0) & (local < part)
    chosen = wide.gather(-1, local.masked_fill(~mine, 0)[..., None]).squeeze(-1).masked_fill(~mine, 0.0)
    return (partition.log() - summed(chosen, group)).mean()
