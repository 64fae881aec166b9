"""The layouts that are compared with one process, by world size.

`make test-all` compares every architecture under every layout. `make test` compares every architecture under tensor and
under pipeline parallelism, and each other layout with one architecture.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.layout import Layout

FAMILIES = ("pythia", "opt", "llama")


@dataclass(frozen=True)
class Case:
    """A layout and an architecture, the norm that gradients are clipped to, and what is made wrong on purpose."""

    architecture: str
    layout: Layout
    clip: float = 1.0
    mistake: str = ""


def _layout(micro_batch: int = 2, **fields: object) -> Layout:
    return Layout(engine="deepspeed", micro_batch=micro_batch, **fields)  # type: ignore[arg-type]


LAYOUTS = {
    "1": {f"ZeRO {stage}": _layout(zero=stage) for stage in range(4)},
    "2": {
        **{f"data 2, ZeRO {stage}": _layout(data=2, zero=stage) for stage in range(3)},
        "data 2, ZeRO 3": _layout(data=2, zero=3, recompute="selective"),
        "tensor 2": _layout(tensor=2, micro_batch=4),
        "tensor 2, sequence": _layout(tensor=2, micro_batch=4, sequence_parallel=True, recompute="selective"),
        "pipeline 2": _layout(pipeline=2),
        "pipeline 2, recomputed": _layout(pipeline=2, zero=1, recompute="whole"),
    },
    "4": {
        "data 4, ZeRO 3": _layout(data=4, micro_batch=1, zero=3, recompute="whole"),
        "data 2, tensor 2, ZeRO 2": _layout(data=2, tensor=2, zero=2),
        "data 2, tensor 2, ZeRO 3": _layout(data=2, tensor=2, zero=3, sequence_parallel=True),
        "data 2, pipeline 2, ZeRO 1": _layout(data=2, pipeline=2, zero=1),
        "tensor 2, pipeline 2": _layout(tensor=2, pipeline=2, zero=1, sequence_parallel=True),
        "tensor 4": _layout(tensor=4, micro_batch=4, sequence_parallel=True),
    },
}
CONTROLS = {
    "gradients summed": Case("pythia", _layout(data=2, zero=1), mistake="summed"),
    "gradients summed, not clipped": Case("pythia", _layout(data=2, zero=1), clip=1e9, mistake="summed"),
    "a rank's data swapped": Case("pythia", _layout(data=2, zero=1), mistake="swapped"),
    "a micro-batch read twice": Case("pythia", _layout(data=2, zero=1), mistake="repeated"),
    "a row-parallel bias doubled": Case("pythia", _layout(tensor=2, micro_batch=4), mistake="doubled"),
    "biases decayed": Case("pythia", _layout(data=2, zero=1), mistake="decayed"),
}
CASES: dict[str, dict[str, Case]] = {
    world: {f"{family}, {name}": Case(family, layout) for family in FAMILIES for name, layout in layouts.items()}
    for world, layouts in LAYOUTS.items()
}
CASES["2"] |= {
    "opt-post, tensor 2": Case("opt-post", _layout(tensor=2, micro_batch=4, sequence_parallel=True)),
    "opt-post, pipeline 2": Case("opt-post", _layout(pipeline=2, zero=1)),
    **CONTROLS,
}

EVERY_FAMILY = ("tensor 2, sequence", "pipeline 2")
HEAVY = {
    (world, f"{family}, {name}")
    for world, layouts in LAYOUTS.items()
    for place, name in enumerate(layouts)
    if name not in EVERY_FAMILY
    for other, family in enumerate(FAMILIES)
    if place % len(FAMILIES) != other
}
