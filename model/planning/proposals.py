"""Layouts that would do a training task, ranked by predicted speed, and why the others would not."""

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
    """What is to be trained on what: `batch` sequences of `sequence_length` tokens in each of `steps`."""

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
            f"plan: {self.device.name} has no units for {self.precision}; choose another precision or GPU",
        )

    @property
    def tokens(self) -> int:
        """Of the whole run."""
        return self.sequence_length * self.batch * self.steps


@dataclass(frozen=True)
class Estimate:
    """A layout, its fullest GPU and the time of its step."""

    layout: Layout
    memory: Memory
    time: StepTime


@dataclass(frozen=True)
class Refusal:
    """A layout, or what a group of layouts shares, and why it is not proposed."""

    layout: str
    reason: str


def propose(task: Task) -> tuple[list[Estimate], list[Refusal]]:
    """For every share of tensor and pipeline parallelism its fastest layout that fits, the fastest first, and why the
    other shares have none.
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
    """Memory and time of a layout, whether it fits or not. Raises ValueError when it does not come out even."""
    return _estimate(task, layout, memory(task.config, layout, task.precision, task.sequence_length, task.batch))


def objections_of(task: Task, layout: Layout) -> list[str]:
    """Why the layout is not allowed for the task; memory is another question."""
    return objections(task.config, layout, task.device, task.precision, task.sequence_length, task.batch)


def fits(task: Task, found: Estimate) -> bool:
    """Whether the fullest GPU has room. The data sheet's decimal gigabytes are 5 to 7 % less than the card has; that
    is left to CUDA's context, NCCL's buffers and what the allocator cannot use.
    """
    return found.memory.total <= task.device.memory


def shortage(task: Task, found: Estimate) -> str:
    """In words, by how much the memory falls short and what takes most of it."""
    parts = found.memory.parts
    largest = max(parts, key=lambda name: parts[name])
    return (
        f"needs {found.memory.total / 1e9:.1f} GB of {task.device.memory / 1e9:.0f} GB on stage {found.memory.stage} "
        f"{found.memory.moment}, most of it {largest} ({parts[largest] / 1e9:.1f} GB), with {describe(found.layout)}"
    )


def describe(layout: Layout) -> str:
    """A layout in a few words, as `--layout` takes it."""
    words = [f"{name}={getattr(layout, name)}" for name in ("data", "tensor", "pipeline", "zero", "micro_batch")]
    words += ["sequence_parallel=true"] if layout.sequence_parallel else []
    return ",".join([*words, f"recompute={layout.recompute}"])


def tokens_per_second_per_gpu(task: Task, found: Estimate) -> float:
    """Predicted for a layout."""
    return task.sequence_length * task.batch / found.time.total / task.gpus


def _estimate(task: Task, layout: Layout, needed: Memory) -> Estimate:
    time = step_time(task.config, layout, task.precision, task.device, task.sequence_length, task.batch)
    return Estimate(layout, needed, time)


def _rank(found: Estimate) -> tuple[float, float]:
    return found.time.total, found.memory.total


def _rules(task: Task) -> list[Refusal]:
    """What is out of the question for any model."""
    rules = []
    if task.gpus > 1:
        reason = "DeepSpeed's pipeline does not partition gradients or weights: it goes with ZeRO 0 or 1"
        rules.append(Refusal("pipeline above 1 with zero 2 or 3", reason))
        if task.precision != "fp32":
            rules.append(Refusal("zero 0", f"DeepSpeed would add up gradients in {task.precision}; with ZeRO, in fp32"))
    if task.gpus > MACHINE:
        reason = f"NVLink joins {MACHINE} GPUs; every block would wait for the network"
        rules.append(Refusal(f"tensor above {MACHINE}", reason))
    return rules
