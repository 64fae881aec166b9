"""A plan: the predicted memory, time and energy of a training run under a layout, and alternative layouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from model.architectures.registry import model_config
from model.configuration import require
from model.cost.carbon import megawatt_hours, tonnes_co2e
from model.cost.devices import Device
from model.cost.flops import TokenFlops, hardware_flops, mfu, model_flops
from model.planning.layouts import layout_of
from model.planning.proposals import (
    Estimate,
    Refusal,
    Task,
    estimate,
    fits,
    objections_of,
    propose,
    shortage,
    tokens_per_second_per_gpu,
)

SECONDS_OF_AN_HOUR = 3600


@dataclass(frozen=True)
class Plan:
    """The chosen layout of a task, with alternatives.

    `alternatives` holds the other proposals: the fastest layout that fits for each pair of tensor and pipeline ranks.
    `problems` are the reasons why the chosen layout does not fit. `refusals` explain why other layouts are not
    proposed.
    """

    task: Task
    chosen: Estimate
    problems: tuple[str, ...]
    alternatives: tuple[Estimate, ...]
    refusals: tuple[Refusal, ...]

    @property
    def tokens_per_second_per_gpu(self) -> float:
        """Predicted throughput."""
        return tokens_per_second_per_gpu(self.task, self.chosen)

    @property
    def gpu_hours(self) -> float:
        """GPU hours of the run, without restarts, checkpoints or evaluations."""
        return self.task.gpus * self.task.steps * self.chosen.time.total / SECONDS_OF_AN_HOUR

    @property
    def days(self) -> float:
        """Wall-clock days."""
        return self.gpu_hours / self.task.gpus / 24

    @property
    def megawatt_hours(self) -> float:
        """Energy by LLaMA's formula, with the thermal design power of the device."""
        return megawatt_hours(self.gpu_hours, self.task.device.watts)

    @property
    def tonnes_co2e(self) -> float:
        """Tonnes of CO2 equivalent by LLaMA's formula."""
        return tonnes_co2e(self.megawatt_hours)

    @property
    def flops(self) -> TokenFlops:
        """FLOPs per token, by the convention of `mfu`."""
        return model_flops(self.task.config, self.task.sequence_length)

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation at the predicted throughput."""
        return mfu(self.tokens_per_second_per_gpu, self.flops, self.task.device.peak(self.task.precision))

    @property
    def hfu(self) -> float | None:
        """Hardware FLOPs utilisation: includes recomputation."""
        flops = hardware_flops(self.task.config, self.task.sequence_length, self.chosen.layout.recompute)
        return mfu(self.tokens_per_second_per_gpu, flops, self.task.device.peak(self.task.precision))


def task_of(
    preset: Mapping[str, Any], gpus: int, device: Device, precision: str | None = None, batch: int | None = None
) -> Task:
    """The task of a preset (`model.presets.preset`).

    `precision` and `batch` (sequences per step) default to the preset's. Another batch changes the number of steps, so
    that the tokens of the run stay the same, rounded up to a whole step.
    """
    training = preset["training"]
    steps = training["steps"]
    if batch is not None:
        require(batch >= 1, f"plan: batch is {batch}; it must be at least 1")
        steps = -(-training["batch"] * steps // batch)
    return Task(
        config=model_config(preset["model"]),
        sequence_length=training["sequence_length"],
        batch=batch or training["batch"],
        steps=steps,
        precision=precision or training.get("precision", "fp32"),  # type: ignore[arg-type]
        gpus=gpus,
        device=device,
    )


def plan(task: Task, layout: Mapping[str, Any] | None = None) -> Plan:
    """The plan for a layout such as {"tensor": 2, "pipeline": 4}; by default for the fastest layout that fits.

    Raises ValueError when the layout does not use exactly the task's GPUs or is not allowed, and when no layout fits.
    """
    proposals, refusals = propose(task)
    if layout is None:
        if not proposals:
            reasons = "; ".join(f"{refusal.layout}: {refusal.reason}" for refusal in refusals)
            raise ValueError(
                f"no layout of {task.gpus} {task.device.name} can train this model; use more GPUs, GPUs with more "
                f"memory, or another batch. {reasons}"
            )
        return Plan(task, proposals[0], (), tuple(proposals[1:]), tuple(refusals))
    wanted = layout_of(dict(layout), task.gpus)
    problems = objections_of(task, wanted)
    if problems:
        raise ValueError(f"this layout is not allowed: {'; '.join(problems)}")
    chosen = estimate(task, wanted)
    if not fits(task, chosen):
        problems.append(shortage(task, chosen))
    others = [proposal for proposal in proposals if proposal.layout != wanted]
    return Plan(task, chosen, tuple(problems), tuple(others), tuple(refusals))


def to_json(made: Plan) -> dict[str, Any]:
    """The plan as plain JSON: bytes, seconds, hours, megawatt-hours, tonnes."""
    task, chosen = made.task, made.chosen
    return {
        "parameters": task.config.parameters,
        "gpus": task.gpus,
        "gpu": task.device.name,
        "precision": task.precision,
        "tokens": task.tokens,
        "fits": not made.problems,
        "problems": list(made.problems),
        "memory_per_gpu_bytes": round(chosen.memory.total),
        "memory_capacity_bytes": round(task.device.memory),
        "memory": {name: round(value) for name, value in chosen.memory.parts.items()},
        "memory_stage": chosen.memory.stage,
        "memory_moment": chosen.memory.moment,
        "tokens_per_second_per_gpu": made.tokens_per_second_per_gpu,
        "step_seconds": chosen.time.total,
        "step": asdict(chosen.time),
        "mfu": made.mfu,
        "hfu": made.hfu,
        "flops_per_token": made.flops.total,
        "convention": made.flops.convention,
        "gpu_hours": made.gpu_hours,
        "days": made.days,
        "megawatt_hours": made.megawatt_hours,
        "tonnes_co2e": made.tonnes_co2e,
        "layout": chosen.layout.to_plain(),
        "accumulation": chosen.layout.accumulation(task.batch),
        "alternatives": [
            {
                "layout": other.layout.to_plain(),
                "memory_per_gpu_bytes": round(other.memory.total),
                "tokens_per_second_per_gpu": tokens_per_second_per_gpu(task, other),
            }
            for other in made.alternatives
        ],
        "refusals": [asdict(refusal) for refusal in made.refusals],
    }
