"""Layouts for a training task, ranked by predicted speed, and the reasons why others are not proposed."""

from __future__ import annotations

from dataclasses import dataclass

from model.architectures.architecture import ModelConfig
from model.configuration import require
from model.cost.devices import MACHINE, Device
from model.layout import Layout
from model.optim.precision import Precision
from model.planning.layouts import candidates, objections
from model.planning.memory import SIZES, Memory, memory
from model.planning.speed import StepTime, step_time


@dataclass(frozen=True)
class Task:
    """A model, its hardware and its data: `steps` steps of `batch` sequences of `sequence_length` tokens."""

    config: ModelConfig
    sequence_length: int
    batch: int
    steps: int
    precision: Precision
    gpus: int
    device: Device

    def __post_init__(self) -> None:
        for name in ("sequence_length", "batch", "steps", "gpus"):
            require(getattr(self, name) >= 1, f"plan: {name} is {getattr(self, name)}; it must be at least 1")
        require(self.precision in SIZES, f"plan: precision is {self.precision!r}; it must be {', '.join(SIZES)}")
        require(
            self.device.peak(self.precision) is not None,
            f"plan: {self.device.name} does not support {self.precision}; use another precision or GPU",
        )

    @property
    def tokens(self) -> int:
        """Tokens of the whole run."""
        return self.sequence_length * self.batch * self.steps


@dataclass(frozen=True)
class Estimate:
    """A layout, the memory of its fullest GPU and the time of a step."""

    layout: Layout
    memory: Memory
    time: StepTime


@dataclass(frozen=True)
class Refusal:
    """A layout or a group of layouts, and the reason why it is not proposed."""

    layout: str
    reason: str


def propose(task: Task) -> tuple[list[Estimate], list[Refusal]]:
    """The fastest layout that fits for each pair of tensor and pipeline ranks, fastest first.

    The refusals give the reasons for the pairs without such a layout.
    """
    best: dict[tuple[int, int], Estimate] = {}
    closest: dict[tuple[int, int], Estimate] = {}
    refused: dict[tuple[int, int], str] = {}
    for layout in candidates(task.gpus, task.batch, task.config.layers, task.precision):
        share = (layout.tensor, layout.pipeline)
        if reasons := objections_of(task, layout):
            refused.setdefault(share, "; ".join(reasons))
            continue
        needed = memory(task.config, layout, task.precision, task.sequence_length, task.batch)
        if needed.total > task.device.memory:
            if share not in closest or needed.total < closest[share].memory.total:
                closest[share] = _estimate(task, layout, needed)
            continue
        found = _estimate(task, layout, needed)
        if share not in best or _rank(found) < _rank(best[share]):
            best[share] = found
    refusals = _rules(task)
    for tensor in sorted({tensor for tensor, _ in refused}):
        pipelines: dict[str, list[str]] = {}
        for (_, pipeline), reason in (item for item in refused.items() if item[0][0] == tensor):
            if (tensor, pipeline) not in closest.keys() | best.keys():
                pipelines.setdefault(reason, []).append(str(pipeline))
        refusals += [Refusal(f"tensor {tensor}, pipeline {', '.join(held)}", why) for why, held in pipelines.items()]
    for share, found in closest.items():
        if share not in best:
            refusals.append(Refusal(f"tensor {share[0]}, pipeline {share[1]}", shortage(task, found)))
    return sorted(best.values(), key=_rank), refusals


def estimate(task: Task, layout: Layout) -> Estimate:
    """Memory and time of a layout, which need not fit. Raises ValueError as `memory` does."""
    return _estimate(task, layout, memory(task.config, layout, task.precision, task.sequence_length, task.batch))


def objections_of(task: Task, layout: Layout) -> list[str]:
    """The reasons why the layout is not allowed for the task. Memory is checked by `fits`."""
    return objections(task.config, layout, task.device, task.precision, task.sequence_length, task.batch)


def fits(task: Task, found: Estimate) -> bool:
    """Whether the fullest GPU has enough memory.

    The data sheet's decimal gigabytes are 5 to 7 % less than the memory of the GPU. The difference is left for CUDA's
    context, NCCL's buffers and fragmentation in the allocator.
    """
    return found.memory.total <= task.device.memory


def shortage(task: Task, found: Estimate) -> str:
    """A sentence with the memory needed, the memory available and the largest part."""
    parts = found.memory.parts
    largest = max(parts, key=lambda name: parts[name])
    return (
        f"needs {found.memory.total / 1e9:.1f} GB of {task.device.memory / 1e9:.0f} GB on stage {found.memory.stage} "
        f"{found.memory.moment}, mostly {largest} ({parts[largest] / 1e9:.1f} GB), with {describe(found.layout)}"
    )


def describe(layout: Layout) -> str:
    """A layout in the syntax of `--layout`."""
    words = [f"{name}={getattr(layout, name)}" for name in ("data", "tensor", "pipeline", "zero", "micro_batch")]
    words += ["sequence_parallel=true"] if layout.sequence_parallel else []
    return ",".join([*words, f"recompute={layout.recompute}"])


def tokens_per_second_per_gpu(task: Task, found: Estimate) -> float:
    """Predicted throughput of a layout."""
    return task.sequence_length * task.batch / found.time.total / task.gpus


def _estimate(task: Task, layout: Layout, needed: Memory) -> Estimate:
    time = step_time(task.config, layout, task.precision, task.device, task.sequence_length, task.batch)
    return Estimate(layout, needed, time)


def _rank(found: Estimate) -> tuple[float, float]:
    return found.time.total, found.memory.total


def _rules(task: Task) -> list[Refusal]:
    """The layouts that are refused for every model."""
    rules = []
    if task.gpus > 1:
        reason = "DeepSpeed's pipeline does not partition gradients or weights; use zero 0 or 1"
        rules.append(Refusal("pipeline above 1 with zero 2 or 3", reason))
        if task.precision != "fp32":
            rules.append(
                Refusal("zero 0", f"DeepSpeed would accumulate gradients in {task.precision}; use zero 1 or higher")
            )
    if task.gpus > MACHINE:
        reason = f"NVLink connects {MACHINE} GPUs; beyond that every block would wait for the network"
        rules.append(Refusal(f"tensor above {MACHINE}", reason))
    return rules
