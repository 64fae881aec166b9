"""The layouts and precisions whose state is taken, perturbed and put back, by world size."""

from __future__ import annotations

from dataclasses import dataclass

from model.layout import Layout
from model.optim.precision import Precision

# Larger worlds first: each launch also reads what those before it wrote.
WORLDS = ("4", "2", "1")
BATCH = 8
LINE_END = 10  # documents end often, in the middle of sequences


def run_key(world: str, name: str) -> str:
    """The run under which a case keeps its state; it begins with the architecture."""
    return f"{CASES[world][name].architecture}-{world}-{name}".replace(",", "").replace(" ", "-")


@dataclass(frozen=True)
class Case:
    """A layout, an architecture and a precision; attention ends at `end_of_document` where one is given.

    With `controls`, parts of the state are also left out on purpose.
    """

    layout: Layout
    precision: Precision = "fp32"
    architecture: str = "pythia"
    end_of_document: int | None = None
    controls: bool = False


def _layout(**fields: object) -> Layout:
    data = int(str(fields.get("data", 1)))
    return Layout(engine="deepspeed", micro_batch=BATCH // data // 2, **fields)  # type: ignore[arg-type]


def _zero(data: int, tensor: int, precision: Precision, stages: tuple[int, ...]) -> dict[str, Case]:
    ranks = f"data {data}" + (f", tensor {tensor}" if tensor > 1 else "")
    return {
        f"{ranks}, ZeRO {stage}, {precision}": Case(
            _layout(data=data, tensor=tensor, zero=stage), precision, controls=(data, precision) == (2, "bf16")
        )
        for stage in stages
    }


CASES: dict[str, dict[str, Case]] = {
    "1": {
        **_zero(1, 1, "fp32", (0, 1, 2, 3)),
        **_zero(1, 1, "bf16", (1, 2, 3)),
        **_zero(1, 1, "fp16", (1, 2, 3)),
    },
    "2": {
        **_zero(2, 1, "fp32", (0, 1, 2, 3)),
        **_zero(2, 1, "bf16", (1, 2, 3)),
        **_zero(2, 1, "fp16", (1, 2, 3)),
        **_zero(1, 2, "fp32", (0, 1, 2, 3)),
        **_zero(1, 2, "bf16", (1, 2, 3)),
        "pipeline 2, ZeRO 0, fp32": Case(_layout(pipeline=2), controls=True),
        "pipeline 2, ZeRO 1, fp32": Case(_layout(pipeline=2, zero=1)),
        "pipeline 2, ZeRO 1, bf16": Case(_layout(pipeline=2, zero=1), "bf16", controls=True),
        "pipeline 2, ZeRO 1, fp16": Case(_layout(pipeline=2, zero=1), "fp16"),
        "tied, data 2, ZeRO 2, fp32": Case(_layout(data=2, zero=2), "fp32", "opt"),
        "tied, tensor 2, ZeRO 0, fp32": Case(_layout(tensor=2, sequence_parallel=True), "fp32", "opt"),
        "tied, pipeline 2, ZeRO 0, fp32": Case(_layout(pipeline=2), "fp32", "opt"),
        "tied, pipeline 2, ZeRO 1, fp32": Case(_layout(pipeline=2, zero=1), "fp32", "opt"),
        "tied, pipeline 2, ZeRO 1, bf16": Case(_layout(pipeline=2, zero=1), "bf16", "opt"),
        "tied, pipeline 2, ZeRO 1, fp16": Case(_layout(pipeline=2, zero=1), "fp16", "opt"),
        "borders, tensor 2": Case(_layout(tensor=2, sequence_parallel=True), end_of_document=LINE_END),
        "borders, pipeline 2": Case(_layout(pipeline=2), end_of_document=LINE_END),
        "borders, pipeline 2, bf16": Case(_layout(pipeline=2, zero=1), "bf16", end_of_document=LINE_END),
        "borders, tied, pipeline 2": Case(_layout(pipeline=2, zero=1), "fp32", "opt", LINE_END),
    },
    "4": {
        **_zero(4, 1, "fp32", (1, 3)),
        **_zero(4, 1, "fp16", (2,)),
        **_zero(2, 2, "bf16", (1, 2, 3)),
        "data 2, pipeline 2, ZeRO 0, fp32": Case(_layout(data=2, pipeline=2)),
        "data 2, pipeline 2, ZeRO 1, bf16": Case(_layout(data=2, pipeline=2, zero=1), "bf16"),
        "tensor 2, pipeline 2, ZeRO 0, fp32": Case(_layout(tensor=2, pipeline=2)),
        "tensor 2, pipeline 2, ZeRO 1, bf16": Case(_layout(tensor=2, pipeline=2, zero=1), "bf16"),
        "tied, data 2, tensor 2, ZeRO 3, fp32": Case(_layout(data=2, tensor=2, zero=3), "fp32", "opt"),
        "tied, tensor 2, pipeline 2, ZeRO 0, fp32": Case(_layout(tensor=2, pipeline=2), "fp32", "opt"),
        "tied, tensor 2, pipeline 2, ZeRO 1, fp32": Case(_layout(tensor=2, pipeline=2, zero=1), "fp32", "opt"),
        "borders, tensor 2, pipeline 2": Case(
            _layout(tensor=2, pipeline=2, zero=1, sequence_parallel=True), end_of_document=LINE_END
        ),
    },
}
