"""Memory of a GPU in training, by part, at the moment when it is fullest.

States of the model as in Rajbhandari et al. 2020 (ZeRO), section 3.1 and figure 1, but as this project's engines hold
them: gradients are added up in fp32 whatever the precision, so that a parameter in half precision costs 2 + 4 + 12
bytes where the paper counts 2 + 2 + 12. Activations: `model.planning.activations`.

The start is never the fullest moment, so it is not among those looked at. Engines take the initial weights tensor by
tensor, and ZeRO 3 partitions each before the next: beside its share a rank then holds one, where it gathers many later.
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

SIZES = {"fp32": 4, "bf16": 2, "fp16": 2}  # bytes of an element in which products are computed
FP32 = 4
MOMENTS = 2 * FP32  # AdamW
COUNTER = FP32  # AdamW's number of updates, one for each tensor it is given
ALIGNMENT = 2  # DeepSpeed pads what ZeRO 1 and 2 cut to a multiple of 2 · data ranks (`zero/stage_1_and_2.py`)


@dataclass(frozen=True)
class States:
    """Bytes that a rank holds of weights in the precision of the products, gradients, and what AdamW needs: its
    moments and, where they are not the weights themselves, fp32 masters.
    """

    weights: float
    gradients: float
    optimizer: float


@dataclass(frozen=True)
class Memory:
    """Bytes by part on the fullest rank, which is one of pipeline stage `stage`, at the `moment` when it is fullest.

    `logits` are those of the loss and their gradients; `buffers` what DeepSpeed reduces, gathers or sends from, the
    block that is being computed again, gradients on their way to fp32, and AdamW's own.
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
        """All parts."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, float]:
        """Bytes by part."""
        return {name: float(value) for name, value in vars(self).items() if name not in ("stage", "moment")}


def memory(config: ModelConfig, layout: Layout, precision: Precision, sequence_length: int, batch: int) -> Memory:
    """Of the fullest rank in a step of `batch` sequences. Raises ValueError when the layout does not come out even."""
    # Stages between the first and the last have no more blocks than the first, fewer micro-batches, and no embedding.
    stages = sorted({0, layout.pipeline - 1})
    return max(
        (memory_of_stage(config, layout, precision, sequence_length, batch, stage) for stage in stages),
        key=lambda held: held.total,
    )


def memory_of_stage(
    config: ModelConfig, layout: Layout, precision: Precision, sequence_length: int, batch: int, stage: int
) -> Memory:
    """Of a rank of that pipeline stage."""
    size = SIZES[precision]
    held, _, _ = totals(config, layout.tensor, layout.pipeline, stage)
    blocks = len(stage_blocks(config.layers, layout.pipeline, stage))
    states = states_of(config, layout, precision, stage)
    accumulation = layout.accumulation(batch)
    tokens = layout.micro_batch * sequence_length
    last = stage == layout.pipeline - 1

    kept = blocks * kept_by_block(config, layout, size) * tokens
    head = kept_by_head(config, layout, size) * tokens if last else 0.0
    # One forward, one backward: a stage has as many micro-batches on their way as stages follow it, and itself.
    waiting = (min(accumulation, layout.pipeline - stage) - 1) * (kept + head)
    sent = config.width * size * tokens * min(accumulation, layout.pipeline - stage) if layout.pipeline > 1 else 0.0
    computed_again = 0.0 if layout.recompute == "none" else kept_without_recompute(config, layout, size) * tokens
    gathered = min(GATHERED_ELEMENTS, held) * size if layout.zero == 3 and layout.data > 1 else 0.0
    exchanged = exchange_bytes(config, layout, precision, stage)
    # ZeRO 3 keeps its bucket, and its gradients' place, all the time.
    kept_bucket = bucket_elements(layout, held) * size if layout.zero == 3 else 0.0
    # Gradients of one micro-batch before they are added to those in fp32: of all parameters at once in the native
    # engine, one after another in DeepSpeed.
    passing = held * size if layout.engine == "native" and precision != "fp32" else 0.0

    def moment(name: str, gradients: float, activations: float, logits: float, buffers: float) -> Memory:
        return Memory(
            states.weights, gradients, states.optimizer, activations, logits, buffers + sent + gathered, stage, name
        )

    # DeepSpeed makes all gradients of bf16 with ZeRO 1 at the start; others come with the first backward pass.
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
    """What DeepSpeed 0.19.8 reduces gradients from, there as long as gradients come, in the loss behind them too.

    ZeRO 1 fills buckets with what was added up in fp32, ZeRO 2 and 3 with gradients as they come, the largest of them
    beside these. Two buckets alternate, so that one is filled while the other is reduced; ZeRO 3 lays one out anew
    instead (`zero/stage_1_and_2.py`, `setup_buckets`; `comm/coalesced_collectives.py`). In a pipeline the second
    is in the precision of the products. Without such buckets, gradients are laid end to end until they are longer than
    one, and cast: bf16 with ZeRO 1, and fp32 without ZeRO (`engine.py`, `allreduce_no_retain`).
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
    """Bytes of the states of a rank of that stage: exact for the native engine and for ZeRO's elements."""
    held, tensors, _ = totals(config, layout.tensor, layout.pipeline, stage)
    owned = _owned(config, layout.tensor, layout.pipeline, stage, layout.zero, layout.data)
    size = SIZES[precision]
    # ZeRO keeps fp32 masters of its own even beside fp32 weights.
    masters = 0 if precision == "fp32" and layout.zero == 0 else FP32
    return States(
        weights=size * (owned if layout.zero == 3 else held),
        gradients=FP32 * (owned if layout.zero >= 2 else held),
        # ZeRO gives AdamW one flat tensor for the matrices and one for the rest.
        optimizer=(masters + MOMENTS) * (owned if layout.zero >= 1 else held)
        + COUNTER * (2 if layout.zero else tensors),
    )


def owned_elements(shapes: Mapping[str, Shape], zero: int, data: int) -> int:
    """Of a rank's tensors, the elements of which ZeRO gives one of `data` ranks the care, padding included.

    Stages 1 and 2 lay all tensors of an optimizer group end to end and cut them in equal parts; stage 3 cuts each.
    The groups are matrices and the rest (`model.engine.decay_groups`).
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
    """On a GPU, AdamW over all tensors at once makes all denominators; ZeRO also lays its gradients end to end."""
    if layout.engine == "native" or layout.device == "cpu":
        return 0.0  # fused, or a tensor at a time
    owned = states.optimizer / (FP32 + MOMENTS)
    return FP32 * owned * (2 if layout.zero else 1)


@lru_cache(maxsize=4096)
def totals(config: ModelConfig, tensor: int, pipeline: int, stage: int) -> tuple[int, int, int]:
    """Elements and tensors that a rank of a stage holds before ZeRO cuts them, and elements of the largest."""
    shapes = local_shapes(config, Layout(engine="deepspeed", tensor=tensor, pipeline=pipeline), 0, stage)
    sizes = [elements(shape) for shape in shapes.values()]
    return sum(sizes), len(sizes), max(sizes)


@lru_cache(maxsize=4096)
def _owned(config: ModelConfig, tensor: int, pipeline: int, stage: int, zero: int, data: int) -> int:
    shapes = local_shapes(config, Layout(engine="deepspeed", tensor=tensor, pipeline=pipeline), 0, stage)
    return owned_elements(shapes, zero, data)
