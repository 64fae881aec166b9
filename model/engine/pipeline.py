"""DeepSpeed's pipeline over stages that are already cut: one layer of its `PipelineModule` is one of our stages."""

from __future__ import annotations

from typing import Any

from torch import distributed, nn

from model.parallel.ranks import Groups
from model.parallel.stage import Stage


def make_pipeline(stage: Stage, groups: Groups) -> Any:
    """The `PipelineModule` of this rank, whose only layer here is `stage`."""
    from deepspeed.pipe import PipelineModule
    from deepspeed.runtime.pipe.topology import PipeModelDataParallelTopology

    layout = stage.layout
    topology = PipeModelDataParallelTopology(num_pp=layout.pipeline, num_mp=layout.tensor, num_dp=layout.data)

    class Pipeline(PipelineModule):  # type: ignore[misc]
        """Of the list of stages only this rank's is real."""

        def get_tied_weights_and_groups(self) -> list[tuple[nn.Parameter, Any]]:
            return [] if stage.tied is None else [(stage.tied, groups.ends)]

    layers = [stage if number == groups.coordinates.stage else nn.Identity() for number in range(layout.pipeline)]
    made = Pipeline(
        layers=layers,
        topology=topology,
        loss_fn=stage.loss,
        partition_method="uniform",
        activation_checkpoint_interval=0,
    )
    if stage.tied is not None and not stage.first:
        # Counted once in the norm: on the first stage.
        stage.tied.ds_pipe_replicated = True  # type: ignore[attr-defined]
    return made


def postpone_update(engine: Any) -> None:
    """Leave the update out of `train_batch`, so that the trainer can look at the gradient before it."""
    from deepspeed.runtime.pipe import schedule

    engine._INSTRUCTION_MAP = {
        **engine._INSTRUCTION_MAP,
        schedule.OptimizerStep: _nothing,
        schedule.ReduceTiedGrads: _sum_tied_gradients,
    }


def _nothing(engine: Any) -> None:
    return None


def _sum_tied_gradients(engine: Any) -> None:
    """DeepSpeed's own looks at `grad` alone, and skips what ZeRO 1 adds up in fp32 beside fp16 weights."""
    for weight, group in engine.module.get_tied_weights_and_groups():
        if engine.using_bf16_optimizer:
            gradient = weight._hp_grad
        else:
            added = getattr(weight, "grad_accum", None)
            gradient = weight.grad if added is None else added
        distributed.all_reduce(gradient, group=group)
