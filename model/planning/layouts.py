"""Candidate layouts for a number of GPUs, and the reasons why a layout is not allowed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from model.architectures.architecture import ModelConfig
from model.cost.devices import MACHINE, Device
from model.layout import PIPELINE_ZERO, Layout, layout_from
from model.optim.precision import Precision
from model.parallel.shapes import block_shapes, split_of

LARGEST_MICRO_BATCH = 64
LONGEST_PIPELINE = 64


def layout_of(values: dict[str, Any], gpus: int) -> Layout:
    """The layout in `values`, such as {"tensor": 2, "zero": 1}.

    By default data ranks fill the GPUs, and more than one GPU uses ZeRO 1. Raises ValueError when the layout does not
    use exactly `gpus` GPUs.
    """
    wanted = layout_from({"engine": "deepspeed", "device": "cuda", "zero": 1 if gpus > 1 else 0} | values)
    data, rest = divmod(gpus, wanted.tensor * wanted.pipeline)
    if rest and "data" not in values:
        raise ValueError(
            f"layout: tensor {wanted.tensor} · pipeline {wanted.pipeline} does not divide {gpus} GPUs; choose sizes "
            "whose product does"
        )
    engine = values.get("engine", "native" if gpus == 1 and not wanted.zero else "deepspeed")
    layout = replace(wanted, engine=engine, data=values.get("data", data))
    if layout.ranks != gpus:
        raise ValueError(f"layout: {layout.ranks} ranks on {gpus} GPUs; data · tensor · pipeline must equal the GPUs")
    return layout


def objections(
    config: ModelConfig, layout: Layout, device: Device, precision: Precision, sequence_length: int, batch: int
) -> list[str]:
    """The reasons why this layout is not allowed, one sentence each. Memory is checked elsewhere (`proposals.fits`)."""
    tensor = layout.tensor
    found = []
    if device.peak(precision) is None:
        found.append(f"{device.name} does not support {precision}; use another precision or GPU")
    if tensor > MACHINE:
        found.append(
            f"tensor {tensor} exceeds a machine of {MACHINE} GPUs, and the network is too slow for tensor parallelism; "
            "use a smaller tensor"
        )
    elif MACHINE % tensor and layout.ranks > MACHINE:
        found.append(
            f"tensor {tensor} does not divide a machine of {MACHINE} GPUs, so some groups span two; choose a divisor"
        )
    if config.heads % tensor:
        found.append(f"tensor {tensor} does not divide {config.heads} heads; choose a divisor")
    if config.vocabulary % tensor:
        found.append(f"tensor {tensor} does not divide a vocabulary of {config.vocabulary:,}; pad it to a multiple")
    found += [
        f"tensor {tensor} does not divide the {size:,} inner features of {name}; choose a divisor"
        for name, size in _inner_features(config)
        if size % tensor
    ]
    if layout.sequence_parallel and sequence_length % tensor:
        found.append(
            f"tensor {tensor} does not divide sequences of {sequence_length} tokens; choose a divisor or turn off "
            "sequence_parallel"
        )
    if layout.pipeline > config.layers:
        found.append(
            f"pipeline {layout.pipeline} is longer than {config.layers} blocks; use at most one stage per block"
        )
    if batch % (layout.micro_batch * layout.data):
        found.append(
            f"a batch of {batch:,} sequences is not a multiple of micro_batch {layout.micro_batch} · data {layout.data}"
            "; change one of the three"
        )
    if layout.engine == "deepspeed" and precision != "fp32" and layout.zero == 0:
        found.append(f"DeepSpeed without ZeRO would accumulate gradients in {precision}; use zero 1 or higher")
    return found


def candidates(gpus: int, batch: int, layers: int, precision: Precision) -> Iterator[Layout]:
    """Layouts to compare: every factorization of the GPUs, with micro-batches that are powers of two.

    Omits layouts that can only be worse than another: ZeRO 2 or 3 without data ranks.
    """
    for tensor in (size for size in range(1, min(gpus, MACHINE) + 1) if gpus % size == 0):
        for pipeline in range(1, min(gpus // tensor, layers, LONGEST_PIPELINE) + 1):
            if gpus % (tensor * pipeline):
                continue
            data = gpus // (tensor * pipeline)
            # Keep one candidate for a batch that the data ranks do not divide, so that the objection is reported.
            sizes = [size for size in _powers_of_two() if batch % (size * data) == 0] or [1]
            for values in _choices(tensor, pipeline, data, precision):
                for micro_batch in sizes:
                    yield layout_of(values | {"micro_batch": micro_batch}, gpus)


def _choices(tensor: int, pipeline: int, data: int, precision: Precision) -> Iterator[dict[str, Any]]:
    ranks = tensor * pipeline * data
    stages = [0] if precision == "fp32" or ranks == 1 else []
    if ranks > 1:
        stages += [1] if data == 1 else [1, 2, 3]
    for zero in stages:
        if pipeline > 1 and zero > PIPELINE_ZERO:
            continue
        for sequence_parallel in (False, True) if tensor > 1 else (False,):
            for recompute in ("none", "selective", "whole"):
                yield {
                    "data": data,
                    "tensor": tensor,
                    "pipeline": pipeline,
                    "zero": zero,
                    "sequence_parallel": sequence_parallel,
                    "recompute": recompute,
                }


def _powers_of_two() -> Iterator[int]:
    size = 1
    while size <= LARGEST_MICRO_BATCH:
        yield size
        size *= 2


def _inner_features(config: ModelConfig) -> list[tuple[str, int]]:
    """Names and output features of a block's column-parallel matmuls, without attention's, which heads decide."""
    return [
        (name.removesuffix(".weight"), shape[0])
        for name, shape in block_shapes(config).items()
        if len(shape) == 2 and "attention" not in name and split_of(config, f"layers.0.{name}") == "column"
    ]
