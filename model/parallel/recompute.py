"""Activations that are dropped in the forward pass and computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

Recompute = Literal["none", "selective", "whole"]
# What is dear to compute and is kept: matrix products and attention. All else (norms, activations, additions) is cheap
# beside them (Korthikanti et al. 2022, section 5, drop the attention's inner products; here the fused kernel never
# stores these).
_KEPT = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
}


def run_block(block: Callable[..., Tensor], x: Tensor, context: Any, recompute: Recompute) -> Tensor:
    """block(x, context), keeping of its activations what `recompute` says; dropout draws the same in the rerun."""
    if recompute == "none" or not torch.is_grad_enabled():
        return block(x, context)
    if recompute == "whole":
        result: Tensor = checkpoint(block, x, context, use_reentrant=False)
        return result
    selected: Tensor = checkpoint(block, x, context, use_reentrant=False, context_fn=_contexts)
    return selected


def _contexts() -> Any:
    return create_selective_checkpoint_contexts(_policy)


def _policy(context: Any, operation: Any, *arguments: Any, **options: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in _KEPT else CheckpointPolicy.PREFER_RECOMPUTE
