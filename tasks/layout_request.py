"""The request of how a run is executed: its layout, and the limits and the retention of its launches."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from infra.stage import StageConfig
from model.checkpoints.retention import Retention
from model.layout import Layout
from model.supervision.launch import GRACE_SECONDS
from tasks.overrides import overrides_of, request_of
from tasks.run_settings import WrongSetting

if TYPE_CHECKING:
    from model.run.config import RunConfig


class LayoutRequest(
    request_of(Layout, StageConfig, engine="deepspeed", data=2, zero=1, micro_batch=4)  # type: ignore[misc]
):
    """How a run is executed: nothing of it enters the run's identity.

    The first fields are those of `model.layout.Layout`, some with another default. The native engine has one rank and
    no ZeRO without being told. Without a Ray cluster, the device is the GPU where this machine has one, and then each
    GPU has a rank.
    """

    machines: int = pydantic.Field(1, ge=1, description="Number of machines that share the ranks evenly, through Ray.")
    ray: str = pydantic.Field("", description="Address of a Ray cluster to run on. Without it: this machine.")
    startup_seconds: float = pydantic.Field(
        600, gt=0, description="A launch without a first step after this time is ended and restarted."
    )
    steady_seconds: float = pydantic.Field(
        300, gt=0, description="A launch without progress for this time is ended and restarted."
    )
    keep_full: int = pydantic.Field(2, ge=1, description="Number of newest checkpoints that keep their full state.")
    keep_every: int | None = pydantic.Field(
        None, ge=1, description="Checkpoints at multiples of this step keep their full state; others keep only weights."
    )
    grace_seconds: int = pydantic.Field(
        GRACE_SECONDS, ge=1, lt=30, description="Time for ranks to save when asked to exit; Prefect kills after 30 s."
    )

    trackers: tuple[Literal["wandb", "mlflow", "trackio"], ...] = pydantic.Field(
        (), description="Experiment trackers that follow the run; they never stop or delay it."
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _native(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if values.get("engine") == "native":
            values = {"data": 1, "zero": 0, **values}
        if "device" not in values and not values.get("ray") and (gpus := visible_gpus()):
            cut = prod(size for name in ("tensor", "pipeline") if type(size := values.get(name, 1)) is int and size > 0)
            values = {"data": max(1, gpus // cut), "device": "cuda", **values}
        return values

    @pydantic.model_validator(mode="after")
    def _can_be_run(self) -> LayoutRequest:
        ranks = self.layout().ranks
        if ranks % self.machines:
            raise ValueError(f"{ranks} ranks cannot be shared evenly among {self.machines} machines; change either")
        if self.machines > 1 and not self.ray:
            raise ValueError(
                f"{self.machines} machines need a Ray cluster: set layout.ray to its address, or start each machine's "
                "part with `millrace launch`"
            )
        return self

    def retention(self) -> Retention:
        """Which checkpoints stay whole."""
        return Retention(self.keep_full, self.keep_every)

    def layout(self) -> Layout:
        """The layout itself. Raises ValueError when its fields do not go together."""
        return Layout(**{field.name: getattr(self, field.name) for field in fields(Layout)})


class LayoutOverrides(overrides_of(LayoutRequest)):  # type: ignore[misc]
    """Fields of a layout request, to replace those of a training config or the defaults."""


@cache
def visible_gpus() -> int:
    """The number of GPUs of this machine that PyTorch can use. Imports torch only where there is a device file."""
    devices = (*Path("/dev").glob("nvidia[0-9]*"), Path("/dev/kfd"), Path("/dev/dxg"))  # NVIDIA, AMD, WSL
    if not any(device.exists() for device in devices):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def check_layout(config: RunConfig, layout: Layout) -> None:
    """Raise WrongSetting when a run cannot be executed so: what its launch would say."""
    # torch takes over a second to import, and nothing else in the flow process needs it.
    from model.parallel.shapes import local_shapes

    if (layout.engine, layout.device, config.training.precision) == ("deepspeed", "cpu", "fp16"):
        raise WrongSetting(
            "the run trains in fp16, which DeepSpeed supports only on GPUs: use `--set training.precision=fp32 --set "
            "training.scaler=null`, or the layout device=cuda"
        )
    try:
        layout.accumulation(config.training.batch)
        if config.training.validation is not None:
            layout.accumulation(config.training.validation.sequences)
        for stage in range(layout.pipeline):
            local_shapes(config.model, layout, 0, stage)
    except ValueError as error:
        raise WrongSetting(f"the layout does not fit the run: {error}") from error
    training = config.training
    if config.model.heads % layout.tensor:
        problem = f"tensor {layout.tensor} does not divide the model's {config.model.heads} heads"
    elif layout.sequence_parallel and training.sequence_length % layout.tensor:
        problem = f"tensor {layout.tensor} does not divide the sequence length {training.sequence_length}"
    elif layout.engine == "deepspeed" and training.precision != "fp32" and layout.zero == 0:
        problem = f"DeepSpeed without ZeRO accumulates gradients in {training.precision}; set zero to 1 or more"
    else:
        return
    raise WrongSetting(f"the layout does not fit the run: {problem}")
