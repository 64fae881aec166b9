"""The layouts that are compared with one process, by world size."""

from __future__ import annotations

from dataclasses import dataclass

from model.layout import Layout

FAMILIES = ("pythia", "opt", "llama")


@dataclass(frozen=True)
class Case:
    """A layout and an architecture. `spoiled` and `factor` make it wrong on purpose."""

    architecture: str
    layout: Layout
    steps: int = 20
    restored: bool = True
    spoiled: str = ""
    factor: float = 1.0


def _layout(**fields: object) -> Layout:
    return Layout(engine="deepspeed", micro_batch=2, **fields)  # type: ignore[arg-type]


LAYOUTS = {
    "1": {f"ZeRO {stage}": _layout(zero=stage) for stage in range(4)},
    "2": {
        **{f"data 2, ZeRO {stage}": _layout(data=2, zero=stage) for stage in range(3)},
        "data 2, ZeRO 3": _layout(data=2, zero=3, recompute="selective"),
        "tensor 2": _layout(tensor=2),
        "tensor 2, sequence": _layout(tensor=2, sequence_parallel=True, recompute="selective"),
        "pipeline 2": _layout(pipeline=2),
        "pipeline 2, recomputed": _layout(pipeline=2, zero=1, recompute="whole"),
    },
    "4": {
        "data 4, ZeRO 3": Layout(engine="deepspeed", data=4, zero=3, recompute="whole"),
        "data 2, tensor 2, ZeRO 2": _layout(data=2, tensor=2, zero=2),
        "data 2, tensor 2, ZeRO 3": _layout(data=2, tensor=2, zero=3, sequence_parallel=True),
        "data 2, pipeline 2, ZeRO 1": _layout(data=2, pipeline=2, zero=1),
        "tensor 2, pipeline 2": _layout(tensor=2, pipeline=2, zero=1, sequence_parallel=True),
        "tensor 4": _layout(tensor=4, sequence_parallel=True),
    },
}
CONTROLS = {
    "a rank's data swapped": Case("pythia", _layout(data=2, zero=1), 1, spoiled="swapped"),
    "a micro-batch read twice": Case("pythia", _layout(data=2, zero=1), 1, spoiled="repeated"),
    "summed": Case("pythia", _layout(data=2, zero=1), 1, factor=2.0),
    "a row-parallel bias doubled": Case("pythia", _layout(tensor=2), 1, spoiled="doubled bias"),
}
CASES: dict[str, dict[str, Case]] = {
    world: {f"{family}, {name}": Case(family, layout) for family in FAMILIES for name, layout in layouts.items()}
    for world, layouts in LAYOUTS.items()
}
CASES["2"] |= {
    "opt-post, tensor 2": Case("opt-post", _layout(tensor=2, sequence_parallel=True)),
    "opt-post, pipeline 2": Case("opt-post", _layout(pipeline=2, zero=1)),
    **{f"{family}, free": Case(family, _layout(data=2, zero=1), restored=False) for family in FAMILIES},
    **CONTROLS,
}
