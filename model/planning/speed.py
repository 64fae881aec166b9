"""Time of a training step by part: a roofline model with a few constants, each with one physical meaning.

Matmuls run at one fraction of the device's peak and attention at another; everything else runs at a fraction of memory
bandwidth. Tensor parallelism communicates over NVLink, data parallelism and pipelines over the network where they leave
the machine. The constants were fitted to LLaMA-65B and llm-foundry's tables and checked against the other published
runs: docs/planning.md compares all predictions with the published figures. They describe fused code, as in those runs;
of the engines here, only `native` is fused.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.architectures.architecture import ModelConfig
from model.cost.devices import MACHINE, Device
from model.layout import Layout
from model.optim.precision import Precision
from model.parallel.cuts import stage_blocks
from model.parallel.shapes import block_shapes, elements, output_shape
from model.planning.activations import kept_by_head, kept_without_recompute
from model.planning.memory import SIZES, totals

# Fractions of the data sheet's figures. PRODUCTS: large matmuls; the H100's power limit lowers its clock in them.
PRODUCTS = {"v100-32gb": 0.68, "a100-40gb": 0.68, "a100-80gb": 0.68, "h100": 0.6, "h200": 0.6}
ATTENTION = 0.5  # fused attention, causal operations only (Dao 2023, FlashAttention-2, figure 5: 50 to 70 %)
BANDWIDTH = 0.85  # of memory, in memory-bound kernels
LINK = 0.7  # collectives over NVLink and network
EXCHANGES = 2  # per block and pass: attention and feed-forward
HIDDEN = 0.75  # fraction of an exchange that enough compute hides: the two share memory and SMs
# Kept activations are written and read in the forward pass; they and their gradients are read and written in the
# backward pass. Recomputing writes and reads them once more.
PASSES, PASSES_AGAIN = 6, 2
LOGIT_BYTES = 48  # memory traffic per logit: matmul, cast, softmax, loss, and their gradients
ACCUMULATION_BYTES = 10  # per parameter: the gradient is read and added to the fp32 gradient
UPDATE_BYTES = 40  # per parameter that a rank updates: gradient, master, moments, and AdamW's temporaries


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step by part, on the slowest stage; they add up to `total`.

    `products`: matmuls, recomputed ones included. `elementwise`: norms, activations, loss and gradient accumulation.
    `tensor`: communication within blocks. `pipeline`: transfers between stages. `bubble`: filling and draining the
    pipeline. `data`: communication of gradients and weights that compute does not hide. `update`: the optimizer step.
    """

    products: float
    attention: float
    elementwise: float
    tensor: float
    pipeline: float
    bubble: float
    data: float
    update: float

    @property
    def total(self) -> float:
        """Seconds of the whole step."""
        computed = self.products + self.attention + self.elementwise
        return computed + self.tensor + self.pipeline + self.bubble + self.data + self.update


def step_time(
    config: ModelConfig, layout: Layout, precision: Precision, device: Device, sequence_length: int, batch: int
) -> StepTime:
    """Time of a step of `batch` sequences over all ranks. Raises ValueError when the device lacks the precision."""
    stages = (
        _time_of_stage(config, layout, precision, device, sequence_length, batch, stage)
        # Middle stages are never the slowest: no more blocks than the first, and neither embedding nor head.
        for stage in sorted({0, layout.pipeline - 1})
    )
    return max(stages, key=lambda time: time.total)


def _time_of_stage(
    config: ModelConfig,
    layout: Layout,
    precision: Precision,
    device: Device,
    sequence_length: int,
    batch: int,
    stage: int,
) -> StepTime:
    peak = device.peak(precision)
    if peak is None:
        raise ValueError(f"{device.name} does not support {precision}; use another precision or GPU")
    size, tokens = SIZES[precision], layout.micro_batch * sequence_length
    blocks = len(stage_blocks(config.layers, layout.pipeline, stage))
    last = stage == layout.pipeline - 1
    accumulation = layout.accumulation(batch)
    again = layout.recompute == "whole"
    held, _, _ = totals(config, layout.tensor, layout.pipeline, stage)

    # Operations per token and weight: 2 forward, 4 backward, and 2 for a recomputed forward pass.
    weights = sum(elements(shape) for shape in block_shapes(config, layout.tensor).values() if len(shape) == 2)
    products = blocks * weights * (8 if again else 6) + (
        6 * elements(output_shape(config, layout.tensor)) if last else 0
    )
    # Causal: half of 4 · d · s forward; the fused backward pass does 5 matmuls, the forward pass 2.
    scores = 2 * config.width * sequence_length / layout.tensor
    attention = blocks * scores * ((2 if again else 1) + 2.5)
    passes = PASSES + (PASSES_AGAIN if layout.recompute != "none" else 0)
    moved = blocks * passes * kept_without_recompute(config, layout, size) * tokens + ACCUMULATION_BYTES * held
    if last:
        moved += (
            PASSES * kept_by_head(config, layout, size) + LOGIT_BYTES * config.vocabulary / layout.tensor
        ) * tokens

    in_products = products * tokens / (peak * PRODUCTS[device.name])
    in_attention = attention * tokens / (peak * ATTENTION)
    elementwise = moved / (device.bandwidth * BANDWIDTH)
    tensor = blocks * _tensor_bytes(config, layout, size) * tokens / (device.link * LINK)
    pipeline = 2 * config.width * size * tokens / (_neighbour(layout, device) * LINK) if layout.pipeline > 1 else 0.0
    micro_batch = in_products + in_attention + elementwise + tensor + pipeline
    backward = micro_batch * 2 / 3
    return StepTime(
        products=accumulation * in_products,
        attention=accumulation * in_attention,
        elementwise=accumulation * elementwise,
        tensor=accumulation * tensor,
        pipeline=accumulation * pipeline,
        bubble=(layout.pipeline - 1) * micro_batch,
        data=_data_time(layout, device, held * size, accumulation, backward, micro_batch),
        update=UPDATE_BYTES * held / (layout.data if layout.zero else 1) / (device.bandwidth * BANDWIDTH),
    )


def _tensor_bytes(config: ModelConfig, layout: Layout, size: int) -> float:
    """Bytes that a rank sends per token and block.

    The residual stream is all-reduced after each row-parallel matmul in the forward pass and before each
    column-parallel matmul in the backward pass (Shoeybi et al. 2019). Sequence parallelism replaces each all-reduce
    with two exchanges of half the size (Korthikanti et al. 2022, section 4.2.2). Recomputation repeats the forward
    exchanges.
    """
    ranks, stream = layout.tensor, config.width * size
    whole = 2 * (ranks - 1) / ranks * stream  # of an all-reduce
    forward = 1 if layout.recompute == "none" else 2
    return EXCHANGES * whole * (forward + 1)


def _neighbour(layout: Layout, device: Device) -> float:
    """Bytes per second to the next stage, whose ranks are `data · tensor` higher (`model.parallel.ranks.Place`)."""
    return device.link if layout.data * layout.tensor < MACHINE else device.network


def _data_time(
    layout: Layout, device: Device, weights: float, accumulation: int, backward: float, micro_batch: float
) -> float:
    """Seconds of gradient reduction and weight gathering that compute does not hide, for `weights` bytes.

    Without a pipeline the reduction overlaps the backward pass; ZeRO 3 also overlaps its gathering with compute.
    """
    if layout.data == 1:
        return 0.0
    within = min(layout.data, MACHINE // layout.tensor)
    # A ring through several GPUs of each machine uses as many network adapters.
    speed = device.link if layout.data == within else min(device.link, within * device.network)
    once = (layout.data - 1) / layout.data * weights / (speed * LINK)
    if layout.zero == 3:
        return accumulation * _exposed(3 * once, micro_batch)
    if layout.zero == 2:
        return accumulation * _exposed(once, backward) + once
    reduced, gathered = (once, once) if layout.zero == 1 else (2 * once, 0.0)
    return gathered + (_exposed(reduced, backward) if layout.pipeline == 1 else reduced)


def _exposed(exchange: float, computed: float) -> float:
    """Seconds that an exchange adds to the `computed` seconds that it overlaps."""
    return max(exchange - computed, (1 - HIDDEN) * exchange)
