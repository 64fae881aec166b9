"""DeepSpeed's pipeline over Millrace's stages: each layer of its `PipelineModule` is one `Stage`."""

from __future__ import annotations

from typing import Any

from torch import distributed, nn

from model.parallel.ranks import Groups
from model.parallel.stage import Stage


def make_pipeline(stage: Stage, groups: Groups) -> Any:
    """The `PipelineModule` of this rank; its only layer on this rank is `stage`."""
    from deepspeed.pipe import PipelineModule
    from deepspeed.runtime.pipe.topology import PipeModelDataParallelTopology

    layout = stage.layout
    topology = PipeModelDataParallelTopology(num_pp=layout.pipeline, num_mp=layout.tensor, num_dp=layout.data)

    class Pipeline(PipelineModule):  # type: ignore[misc]
        """A pipeline in which only this rank's stage is real; the others are placeholders."""

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
        # The norm counts it once, on the first stage.
        stage.tied.ds_pipe_replicated = True  # type: ignore[attr-defined]
    return made


def postpone_update(engine: Any) -> None:
    """Remove the update from `train_batch`, so that the trainer can check the gradient first."""
    from deepspeed.runtime.pipe import schedule

    engine._INSTRUCTION_MAP = {
        **engine._INSTRUCTION_MAP,
        schedule.OptimizerStep: _nothing,
        schedule.ReduceTiedGrads: _sum_tied_gradients,
    }


def _nothing(engine: Any) -> None:
    return None


def _sum_tied_gradients(engine: Any) -> None:
    """Replaces DeepSpeed's function, which reads only `grad` and misses the fp32 sums of ZeRO 1 with fp16 weights."""
    for weight, group in engine.module.get_tied_weights_and_groups():
        if engine.using_bf16_optimizer:
            gradient = weight._hp_grad
        else:
            added = getattr(weight, "grad_accum", None)
            gradient = weight.grad if added is None else added
        distributed.all_reduce(gradient, group=group)
