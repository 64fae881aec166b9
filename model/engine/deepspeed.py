"""DeepSpeed: ZeRO 0 to 3 and its pipeline, over Millrace's own tensor-parallel stages.

Rajbhandari et al. 2020 (ZeRO); Harlap et al. 2018 (the 1F1B schedule). Needs the environment that `model.agent` sets.
The optimizer is PyTorch's AdamW, as in the native engine. DeepSpeed's own would be compiled at run time and differ.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn

from model.engine import DTYPES, Engine, decay_groups, moved
from model.engine.buckets import GATHERED_ELEMENTS, bucket_elements
from model.engine.loading import load_deepspeed
from model.engine.optimizer_state import Bfloat16Fragments, Fragments, OptimizerState, Partitions, Replicated
from model.engine.pipeline import make_pipeline, postpone_update
from model.layout import Layout
from model.optim.adamw import AdamWConfig
from model.optim.precision import Precision
from model.parallel.meeting import meeting
from model.parallel.ranks import Groups
from model.parallel.stage import Stage
from model.state.boxes import interval
from model.state.slices import Kind, ReadState, Slice


def start_ranks(layout: Layout) -> Groups:
    """Join the other ranks, once per process; return this rank's coordinates and groups.

    Raises ValueError when the number of ranks is not the layout's.
    """
    os.environ["DS_ACCELERATOR"] = layout.device
    deepspeed = load_deepspeed()
    # Otherwise DeepSpeed compiles an all-reduce for inference here, which takes half a minute; training never calls it.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.utils.logger.setLevel(logging.WARNING)
    if not distributed.is_initialized():
        backend = "nccl" if layout.device == "cuda" else "gloo"
        deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False, **meeting())
    if distributed.get_world_size() != layout.ranks:
        raise ValueError(
            f"{distributed.get_world_size()} ranks were started, and the layout has {layout.ranks}; start as many "
            "ranks as the layout has"
        )
    return Groups(layout)


class DeepSpeedEngine(Engine):
    """This rank's part of a step. `accumulation` is the number of micro-batches per call of `accumulate`.

    Raises ValueError for bf16 or fp16 without ZeRO: DeepSpeed would then accumulate gradients in that precision.
    """

    def __init__(
        self, stage: Stage, groups: Groups, config: AdamWConfig, accumulation: int, precision: Precision = "fp32"
    ) -> None:
        layout = stage.layout
        if precision != "fp32" and layout.zero == 0:
            raise ValueError(f"layout: zero is 0 with {precision}; use 1 or more, which accumulate gradients in fp32")
        import deepspeed

        self.stage, self.groups, self.coordinates = stage, groups, groups.coordinates
        self.rank, self.ranks = distributed.get_rank(), distributed.get_world_size()
        self._accumulation, self._layout, self._precision = accumulation, layout, precision
        self._partitioned: Any = None  # ZeRO 3: the first partitioned parameter; it converts the others
        # Create it before ZeRO 3 partitions the parameters: a partitioned parameter has no shape to choose a group by.
        optimizer = torch.optim.AdamW(
            decay_groups((one for _, one in stage.named()), config),
            lr=0.0,
            betas=config.betas,
            eps=config.epsilon,
            fused=layout.device == "cuda",
        )
        device = torch.device(deepspeed.get_accelerator().device_name(int(os.environ["LOCAL_RANK"])))
        stage.place(device, DTYPES[precision], self._partition if layout.zero == 3 else None)
        module: Any = stage if layout.pipeline == 1 else make_pipeline(stage, groups)
        self._engine, _, _, _ = deepspeed.initialize(
            model=module,
            optimizer=optimizer,
            # Always pass it: DeepSpeed keeps the last mpu for the whole process.
            mpu=groups if layout.pipeline == 1 else None,
            config=self._configuration(),
        )
        if layout.pipeline > 1:
            postpone_update(self._engine)
        self._optimizer_state = self._find_optimizer_state()
        # DeepSpeed may have run a step without a gradient to create its buffers; AdamW must count from zero.
        self._optimizer_state.reset(0)

    def accumulate(self, micro_batches: Sequence[Tensor]) -> float:
        if len(micro_batches) != self._accumulation:
            raise ValueError(
                f"accumulate: {len(micro_batches)} micro-batches, and the engine was created for {self._accumulation}; "
                "pass that many"
            )
        self._set_scale()
        if self._layout.pipeline > 1:
            loss: float = self._engine.train_batch(self._feed(micro_batches)).item()
            return loss
        self._engine.train()
        total = torch.zeros((), dtype=torch.float64, device=self._engine.device)
        for number, tokens in enumerate(micro_batches):
            self.on_micro_batch()
            if number:
                # Between micro-batches step() only counts; `update` calls it for the last one.
                self._engine.step()
            tokens = moved(tokens, self._engine.device)
            loss_here = self.stage.loss(self._engine(tokens[:, :-1]), tokens)
            self._engine.backward(loss_here)
            total += loss_here.detach()
        return self._mean(total / len(micro_batches))

    def gradient_norm(self) -> float:
        owned = [values for name, _, values in self._optimizer_state.gradients() if self._writes(name)]
        squares = torch.zeros((), dtype=torch.float64)
        if owned := [values for values in owned if values.numel()]:
            squares = torch.stack(torch._foreach_norm([values.float() for values in owned])).double().square().sum()
        squares = squares.to(self._engine.device)
        distributed.all_reduce(squares)
        self._norm = squares.sqrt() / self.loss_scale
        return self._norm.item()

    def update(self, learning_rate: float, clip: float) -> None:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        if self._layout.zero == 0:
            # DeepSpeed would clip each pipeline stage by its own norm instead of the whole gradient's.
            parameters = [parameter for _, parameter in self.stage.named()]
            nn.utils.clip_grads_with_norm_(parameters, clip, self._norm)
        else:
            self._engine.optimizer.clip_grad = clip
        self._step()

    def discard(self) -> None:
        # Call DeepSpeed's step() so that its counters advance, with the optimizer update replaced by discarding the
        # gradient.
        optimizer = self._engine.optimizer
        held = optimizer.step
        optimizer.step = lambda *_, **__: self._optimizer_state.discard()
        try:
            self._step()
        finally:
            optimizer.step = held

    @torch.no_grad()
    def evaluate(self, micro_batches: Sequence[Tensor]) -> float:
        if self._layout.pipeline > 1:
            total = self._engine.eval_batch(self._feed(micro_batches), num_micro_batches=len(micro_batches))
            return float(total)
        self._engine.eval()
        sums = torch.zeros((), dtype=torch.float64)
        for tokens in micro_batches:
            self.on_micro_batch()
            tokens = moved(tokens, self._engine.device)
            sums += self.stage.loss(self._engine(tokens[:, :-1]), tokens).cpu()
        return self._mean(sums / len(micro_batches))

    def gradients(self) -> Iterator[Slice]:
        for name, first, values in self._optimizer_state.gradients():
            if self._writes(name):
                yield from self._slices(name, "weight", first, values.float() / self.loss_scale)

    def state(self) -> Iterator[Slice]:
        for held in self._optimizer_state.views():
            if self._writes(held.name):
                start, length = held.owned
                yield from self._slices(held.name, "weight", held.first + start, held.weight.narrow(0, start, length))
                for kind, key in _KINDS.items():
                    moment = held.moments[key].narrow(0, start, length)
                    yield from self._slices(held.name, kind, held.first + start, moment)

    def restore(self, read: ReadState, updates: int) -> None:
        self._optimizer_state.reset(updates)
        held = {view.name: view for view in self._optimizer_state.views()}
        # One tensor at a time, so that only one is in memory; also those of which this rank keeps no optimizer state.
        for name, shard in self.stage.shards.items():
            if (view := held.get(name)) is not None:
                view.weight.copy_(self._stretch(read, name, "weight", view.first, view.length))
                for kind, key in _KINDS.items():
                    view.moments[key].copy_(self._stretch(read, name, kind, view.first, view.length))
            self._optimizer_state.write_back(name, partial(self._stretch, read, name, "weight", 0, shard.box.elements))

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.ranks
        distributed.all_gather_object(values, value)
        return values

    def anyone(self, wants: bool) -> bool:
        flag = torch.tensor(int(wants), device=self._engine.device)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag.item())

    def close(self) -> None:
        self._engine.destroy()
        distributed.destroy_process_group()

    def _partition(self, name: str, parameter: nn.Parameter) -> None:
        """Partition one parameter now. Otherwise DeepSpeed first needs all parameters whole on every rank."""
        import deepspeed

        if self._partitioned is None:
            self._partitioned = parameter
            deepspeed.zero.Init(
                module=nn.ParameterList([parameter]),
                data_parallel_group=self.groups.data,
                config_dict_or_path=self._configuration(),
                mpu=self.groups,
            )
        else:
            self._partitioned.convert_to_zero_parameters([parameter])

    def _configuration(self) -> dict[str, Any]:
        layout = self._layout
        bucket = bucket_elements(layout, sum(shard.box.elements for shard in self.stage.shards.values()))
        zero: dict[str, Any] = {"stage": layout.zero, "reduce_bucket_size": bucket, "allgather_bucket_size": bucket}
        if layout.device == "cuda" and layout.zero in (1, 2) and layout.pipeline == 1:
            zero["overlap_comm"] = True
        if layout.zero == 3:
            # Persistence threshold 0: no parameter stays whole on every rank, so each element has one owner.
            # DeepSpeed's linear function adds the bias in place, to the matmul result that selective recomputation
            # keeps, and it replaces torch's for the rest of the process.
            zero |= {
                "stage3_param_persistence_threshold": 0,
                "stage3_prefetch_bucket_size": bucket,
                "stage3_max_live_parameters": GATHERED_ELEMENTS,
                "memory_efficient_linear": False,
            }
        values: dict[str, Any] = {
            "train_batch_size": layout.micro_batch * self._accumulation * layout.data,
            "train_micro_batch_size_per_gpu": layout.micro_batch,
            "gradient_accumulation_steps": self._accumulation,
            # `update` sets the clip; DeepSpeed's default is 1.
            "gradient_clipping": 0.0,
            "zero_optimization": zero,
            "zero_allow_untested_optimizer": True,
            "steps_per_print": None,
            # DeepSpeed would partition the activations between stages over the tensor ranks as if they were replicated;
            # with sequence parallelism they are already sharded.
            "pipeline": {"pipe_partitioned": False, "grad_partitioned": False},
        }
        if self._precision == "bf16":
            # Add each gradient to the fp32 sum as soon as it is computed; by default all stay in bf16 until the last.
            values |= {
                "bf16": {"enabled": True, "immediate_grad_update": True},
                "data_types": {"grad_accum_dtype": "fp32"},
            }
        if self._precision == "fp16":
            # A static scale: the trainer sets it before each step, the same way for every engine.
            values |= {"fp16": {"enabled": True, "loss_scale": 1.0}, "data_types": {"grad_accum_dtype": "fp32"}}
        return values

    def _find_optimizer_state(self) -> OptimizerState:
        optimizer = self._engine.optimizer
        names = {parameter: name for name, parameter in self.stage.named()}
        kinds: dict[str, Callable[..., OptimizerState]] = {
            "DeepSpeedZeroOptimizer": Fragments,
            "BF16_Optimizer": Bfloat16Fragments,
            "DeepSpeedZeroOptimizer_Stage3": Partitions,
        }
        if (kind := kinds.get(type(optimizer).__name__)) is not None:
            return kind(optimizer, names)
        if isinstance(optimizer, torch.optim.AdamW):
            return Replicated(optimizer, names, self.coordinates.data, self._layout.data)
        raise ValueError(
            f"DeepSpeed chose the optimizer {type(optimizer).__name__}, whose state is unknown; use DeepSpeed 0.19.8"
        )

    def _step(self) -> None:
        if self._layout.pipeline > 1:
            self._engine._exec_optimizer_step()
        else:
            self._engine.step()

    def _set_scale(self) -> None:
        if self._precision == "fp16":
            self._engine.optimizer.loss_scaler.cur_scale = self.loss_scale

    def _feed(self, micro_batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        for tokens in micro_batches:
            self.on_micro_batch()
            yield tokens[:, :-1].contiguous(), tokens

    def _mean(self, value: Tensor) -> float:
        value = value.to(self._engine.device)
        distributed.all_reduce(value, group=self.groups.data)
        return value.item() / self._layout.data

    def _writes(self, name: str) -> bool:
        return self.stage.shards[name].owned

    def _slices(self, name: str, kind: Kind, first: int, values: Tensor) -> Iterator[Slice]:
        shard, position = self.stage.shards[name], 0
        for box in interval(shard.box, first, values.numel()):
            part = values[position : position + box.elements].view(box.shape)
            yield Slice(name, kind, shard.shape, box, part)
            position += box.elements

    def _stretch(self, read: ReadState, name: str, kind: Kind, first: int, length: int) -> Tensor:
        parts = [read(name, kind, box).reshape(-1) for box in interval(self.stage.shards[name].box, first, length)]
        return parts[0] if len(parts) == 1 else torch.cat(parts) if parts else torch.empty(0)


_KINDS: dict[Kind, str] = {"first_moment": "exp_avg", "second_moment": "exp_avg_sq"}
