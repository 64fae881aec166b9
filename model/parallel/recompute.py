"""Activation checkpointing: drop activations in the forward pass and recompute them in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

Recompute = Literal["none", "selective", "whole"]
# Selective recomputation keeps the expensive results: matmuls and attention. Everything else (norms, activations,
# additions) is cheap to recompute. (Korthikanti et al. 2022, section 5, drop the attention's inner products; the fused
# kernel used here never stores these.)
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
    """block(x, context) with the given activation checkpointing; recomputation repeats the same dropout."""
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
