"""Memory of a GPU in training, by part, at its peak.

Model states follow Rajbhandari et al. 2020 (ZeRO), section 3.1 and figure 1, with one difference: the engines here
accumulate gradients in fp32 in every precision, so a parameter in half precision costs 2 + 4 + 12 bytes instead of the
paper's 2 + 2 + 12. Activations: `model.planning.activations`.

Startup is not considered, because it is never the peak. Engines load the initial weights tensor by tensor, and ZeRO 3
partitions each before the next: a rank then holds one whole tensor beside its share, and gathers many in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from model.architectures.architecture import ModelConfig
from model.engine.buckets import GATHERED_ELEMENTS, bucket_elements
from model.layout import Layout
from model.optim.precision import Precision
from model.parallel.cuts import stage_blocks
from model.parallel.shapes import Shape, elements, local_shapes
from model.planning.activations import kept_by_block, kept_by_head, kept_without_recompute, loss_bytes

SIZES = {"fp32": 4, "bf16": 2, "fp16": 2}  # bytes of an element in matmuls
FP32 = 4
MOMENTS = 2 * FP32  # AdamW
COUNTER = FP32  # AdamW's step count, one per tensor
ALIGNMENT = 2  # DeepSpeed pads the groups of ZeRO 1 and 2 to a multiple of 2 · data ranks (`zero/stage_1_and_2.py`)


@dataclass(frozen=True)
class States:
    """Bytes that a rank holds: weights in the precision of matmuls, gradients, and AdamW's state.

    AdamW's state is its moments and, where the weights are not their own masters, fp32 master weights.
    """

    weights: float
    gradients: float
    optimizer: float


@dataclass(frozen=True)
class Memory:
    """Peak bytes by part on the rank with the highest peak; it belongs to pipeline stage `stage`.

    `moment` says when the peak occurs. `logits` are the logits in the loss and their gradients. `buffers` are
    DeepSpeed's communication buffers, the block being recomputed, gradients not yet added in fp32, and AdamW's
    temporaries.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    buffers: float
    stage: int
    moment: str

    @property
    def total(self) -> float:
        """Bytes of all parts."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, float]:
        """Bytes by part."""
        return {name: float(value) for name, value in vars(self).items() if name not in ("stage", "moment")}


def memory(config: ModelConfig, layout: Layout, precision: Precision, sequence_length: int, batch: int) -> Memory:
    """Peak memory of the fullest rank in a step of `batch` sequences.

    Raises ValueError when the layout does not divide the batch or a sharded dimension, or has more stages than blocks.
    """
    # A middle stage is never the peak: no more blocks than the first, fewer micro-batches in flight, no embedding.
    stages = sorted({0, layout.pipeline - 1})
    return max(
        (memory_of_stage(config, layout, precision, sequence_length, batch, stage) for stage in stages),
        key=lambda held: held.total,
    )


def memory_of_stage(
    config: ModelConfig, layout: Layout, precision: Precision, sequence_length: int, batch: int, stage: int
) -> Memory:
    """Peak memory of a rank of pipeline stage `stage`."""
    size = SIZES[precision]
    held, _, _ = totals(config, layout.tensor, layout.pipeline, stage)
    blocks = len(stage_blocks(config.layers, layout.pipeline, stage))
    states = states_of(config, layout, precision, stage)
    accumulation = layout.accumulation(batch)
    tokens = layout.micro_batch * sequence_length
    last = stage == layout.pipeline - 1

    kept = blocks * kept_by_block(config, layout, size) * tokens
    head = kept_by_head(config, layout, size) * tokens if last else 0.0
    # 1F1B schedule: a stage has (pipeline - stage) micro-batches in flight, one of them being computed.
    waiting = (min(accumulation, layout.pipeline - stage) - 1) * (kept + head)
    sent = config.width * size * tokens * min(accumulation, layout.pipeline - stage) if layout.pipeline > 1 else 0.0
    computed_again = 0.0 if layout.recompute == "none" else kept_without_recompute(config, layout, size) * tokens
    gathered = min(GATHERED_ELEMENTS, held) * size if layout.zero == 3 and layout.data > 1 else 0.0
    exchanged = exchange_bytes(config, layout, precision, stage)
    # ZeRO 3 holds its bucket, and memory for its gradients, for the whole step.
    kept_bucket = bucket_elements(layout, held) * size if layout.zero == 3 else 0.0
    # Gradients of one micro-batch before they are added in fp32. The native engine holds those of all parameters at
    # once; DeepSpeed adds each as it comes.
    passing = held * size if layout.engine == "native" and precision != "fp32" else 0.0

    def moment(name: str, gradients: float, activations: float, logits: float, buffers: float) -> Memory:
        return Memory(
            states.weights, gradients, states.optimizer, activations, logits, buffers + sent + gathered, stage, name
        )

    # DeepSpeed allocates gradients of bf16 with ZeRO 1 at the start; others appear in the first backward pass.
    prepared = accumulation > 1 or layout.zero == 3 or (precision == "bf16" and layout.zero == 1)
    before = states.gradients if prepared else 0.0
    moments = [
        moment("when the backward pass begins", before, waiting + kept + head, 0.0, computed_again + exchanged),
        moment(
            "when the backward pass ends", states.gradients, waiting + kept / blocks, 0.0, computed_again + exchanged
        ),
        moment("when gradients are added up", states.gradients, waiting, 0.0, passing + exchanged),
        moment("in the update", states.gradients, 0.0, 0.0, _update_bytes(layout, states) + kept_bucket),
    ]
    if last:
        logits = loss_bytes(config, layout, size, tokens)
        moments.append(moment("in the loss", before, waiting + kept + head, logits, exchanged))
    return max(moments, key=lambda held: held.total)


def exchange_bytes(config: ModelConfig, layout: Layout, precision: Precision, stage: int = 0) -> float:
    """Bytes of DeepSpeed 0.19.8's buffers for gradient reduction. They count in the backward pass and in the loss.

    ZeRO 1 fills buckets with gradients accumulated in fp32; ZeRO 2 and 3 with gradients as they are computed, and hold
    the largest gradient beside the buckets. Two buckets alternate: one is filled while the other is reduced. ZeRO 3
    copies its bucket into a new flat tensor instead (`zero/stage_1_and_2.py`, `setup_buckets`;
    `comm/coalesced_collectives.py`). In a pipeline the second bucket has the precision of matmuls. bf16 with ZeRO 1 and
    fp32 without ZeRO have no such buckets: gradients are flattened until they exceed a bucket, and cast (`engine.py`,
    `allreduce_no_retain`).
    """
    if layout.engine == "native" or (layout.zero == 0 and layout.data == 1):
        return 0.0
    held, _, largest = totals(config, layout.tensor, layout.pipeline, stage)
    size, bucket = SIZES[precision], bucket_elements(layout, held)
    if layout.zero >= 2:
        return size * (2 * bucket + largest)
    if layout.zero == 1 and precision != "bf16":
        return bucket * (FP32 + (FP32 if layout.pipeline == 1 else size))
    return (FP32 + (0 if precision == "fp32" else size)) * min(held, bucket + largest)


def states_of(config: ModelConfig, layout: Layout, precision: Precision, stage: int = 0) -> States:
    """Bytes of the model states of a rank of `stage`: exact for the native engine and for ZeRO's elements."""
    held, tensors, _ = totals(config, layout.tensor, layout.pipeline, stage)
    owned = _owned(config, layout.tensor, layout.pipeline, stage, layout.zero, layout.data)
    size = SIZES[precision]
    # ZeRO keeps separate fp32 masters even if the weights are fp32.
    masters = 0 if precision == "fp32" and layout.zero == 0 else FP32
    return States(
        weights=size * (owned if layout.zero == 3 else held),
        gradients=FP32 * (owned if layout.zero >= 2 else held),
        # ZeRO gives AdamW two flat tensors: the matrices and the rest.
        optimizer=(masters + MOMENTS) * (owned if layout.zero >= 1 else held)
        + COUNTER * (2 if layout.zero else tensors),
    )


def owned_elements(shapes: Mapping[str, Shape], zero: int, data: int) -> int:
    """Elements of tensors with `shapes` that ZeRO assigns to each of `data` ranks, padding included.

    Stages 1 and 2 flatten each optimizer group and partition it evenly; stage 3 partitions each tensor. The groups are
    matrices and the rest (`model.engine.decay_groups`).
    """
    if zero == 0:
        return sum(map(elements, shapes.values()))
    if zero == 3:
        return sum(-(-elements(shape) // data) for shape in shapes.values())
    groups = (
        sum(elements(shape) for shape in shapes.values() if (len(shape) >= 2) == matrices) for matrices in (True, False)
    )
    multiple = ALIGNMENT * data
    return sum(-(-group // multiple) * multiple // data for group in groups)


def _update_bytes(layout: Layout, states: States) -> float:
    """Temporaries of AdamW on a GPU: the denominators of all tensors at once; with ZeRO also flattened gradients."""
    if layout.engine == "native" or layout.device == "cpu":
        return 0.0  # fused (native), or one tensor at a time (CPU)
    owned = states.optimizer / (FP32 + MOMENTS)
    return FP32 * owned * (2 if layout.zero else 1)


@lru_cache(maxsize=4096)
def totals(config: ModelConfig, tensor: int, pipeline: int, stage: int) -> tuple[int, int, int]:
    """Elements and tensors that a rank of a stage holds before ZeRO partitions them; elements of the largest tensor."""
    shapes = local_shapes(config, Layout(engine="deepspeed", tensor=tensor, pipeline=pipeline), 0, stage)
    sizes = [elements(shape) for shape in shapes.values()]
    return sum(sizes), len(sizes), max(sizes)


@lru_cache(maxsize=4096)
def _owned(config: ModelConfig, tensor: int, pipeline: int, stage: int, zero: int, data: int) -> int:
    shapes = local_shapes(config, Layout(engine="deepspeed", tensor=tensor, pipeline=pipeline), 0, stage)
    return owned_elements(shapes, zero, data)
