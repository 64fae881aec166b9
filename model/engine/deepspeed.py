"""DeepSpeed on the CPU with gloo: data parallelism with the optimizer's state shared out (ZeRO stage 1).

Rajbhandari et al. 2020. Needs the environment that torchrun sets. The optimizer is PyTorch's own AdamW: DeepSpeed's
would be compiled on the spot, and would not be the one that the native engine uses.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from model.engine import MOMENTS, AdamWConfig, Engine, ReadState, Slice, decay_groups
from model.layers import next_token_loss

# Elements; DeepSpeed's default of 5e8 would reserve two gigabytes on every rank.
LARGEST_BUCKET = 500_000_000


class DeepSpeedEngine(Engine):
    """This rank's part of a step. `micro_batch` and `accumulation` are the shape of what `accumulate` is given."""

    def __init__(self, model: nn.Module, config: AdamWConfig, micro_batch: int, accumulation: int) -> None:
        os.environ["DS_ACCELERATOR"] = "cpu"
        import deepspeed

        # An all-reduce for inference that DeepSpeed would compile here, for half a minute; training never calls it.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.utils.logger.setLevel(logging.WARNING)
        if not distributed.is_initialized():
            deepspeed.init_distributed(dist_backend="gloo", verbose=False)
        self.model, self.rank, self.ranks = model, distributed.get_rank(), distributed.get_world_size()
        bucket = min(LARGEST_BUCKET, sum(parameter.numel() for parameter in model.parameters()))
        self._names = {parameter: name for name, parameter in model.named_parameters()}
        self._engine, _, _, _ = deepspeed.initialize(
            model=model,
            optimizer=torch.optim.AdamW(decay_groups(model, config), lr=0.0, betas=config.betas, eps=config.epsilon),
            config={
                "train_batch_size": micro_batch * accumulation * self.ranks,
                "train_micro_batch_size_per_gpu": micro_batch,
                "gradient_accumulation_steps": accumulation,
                "gradient_clipping": config.clip,
                "zero_optimization": {"stage": 1, "reduce_bucket_size": bucket, "allgather_bucket_size": bucket},
                "zero_allow_untested_optimizer": True,
            },
        )
        self._zero = self._engine.optimizer
        self._accumulation = accumulation

    def accumulate(self, micro_batches: Sequence[Tensor]) -> float:
        if len(micro_batches) != self._accumulation:
            raise ValueError(f"{len(micro_batches)} micro-batches where the engine was made for {self._accumulation}")
        self._engine.train()
        total = 0.0
        for number, tokens in enumerate(micro_batches):
            if number:
                # Between micro-batches this only counts; the last one is left to `update`.
                self._engine.step()
            loss = next_token_loss(self._engine(tokens[:, :-1]), tokens)
            self._engine.backward(loss)
            total += loss.item()
        whole = torch.tensor(total / len(micro_batches), dtype=torch.float64)
        distributed.all_reduce(whole)
        return whole.item() / self.ranks

    def update(self, learning_rate: float) -> float:
        for group in self._zero.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        return float(self._engine.get_global_grad_norm())

    def gradients(self) -> Iterator[Slice]:
        for group, parameters in enumerate(self._zero.bit16_groups):
            flat = torch.cat([piece.flatten() for piece in self._zero.averaged_gradients[group]])
            for parameter in parameters:
                if (mapping := parameter._hp_mapping) is not None:
                    address = mapping.get_hp_fragment_address()
                    yield self._slice(parameter, "weight", flat.narrow(0, address.start, address.numel))

    def state(self) -> Iterator[Slice]:
        for parameter, mapping, held in self._owned():
            address = mapping.get_hp_fragment_address()
            yield self._slice(parameter, "weight", mapping.hp_fragment.detach())
            for kind, key in MOMENTS:
                moment = (
                    held[key].narrow(0, address.start, address.numel) if key in held else torch.zeros(address.numel)
                )
                yield self._slice(parameter, kind, moment)

    def restore(self, read: ReadState, updates: int) -> None:
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(read(name, "weight", 0, parameter.numel()).view_as(parameter))
        for flat in self._zero.single_partition_of_fp32_groups:
            moments = {key: torch.zeros_like(flat, requires_grad=False) for _, key in MOMENTS}
            self._zero.optimizer.state[flat] = {"step": torch.tensor(float(updates)), **moments}
        for parameter, mapping, held in self._owned():
            name, start, length = (
                self._names[parameter],
                mapping.lp_fragment_address.start,
                mapping.lp_fragment_address.numel,
            )
            mapping.hp_fragment.data.copy_(read(name, "weight", start, length))
            address = mapping.get_hp_fragment_address()
            for kind, key in MOMENTS:
                held[key].narrow(0, address.start, address.numel).copy_(read(name, kind, start, length))

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.ranks
        distributed.all_gather_object(values, value)
        return values

    def close(self) -> None:
        self._engine.destroy()
        distributed.destroy_process_group()

    def _owned(self) -> Iterator[tuple[Any, Any, dict[str, Tensor]]]:
        """Parameters of which this rank owns a stretch, DeepSpeed's address of it and AdamW's state of its group."""
        for group, parameters in enumerate(self._zero.bit16_groups):
            flat = self._zero.single_partition_of_fp32_groups[group]
            for parameter in parameters:
                if parameter._hp_mapping is not None:
                    yield parameter, parameter._hp_mapping, self._zero.optimizer.state.get(flat, {})

    def _slice(self, parameter: nn.Parameter, kind: Any, values: Tensor) -> Slice:
        offset = parameter._hp_mapping.lp_fragment_address.start  # type: ignore[attr-defined]
        return Slice(self._names[parameter], kind, tuple(parameter.shape), offset, values)
