"""How a run is cut and executed: engine, ranks in each direction, ZeRO stage. No part of a run's identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from model.configuration import from_plain, require, to_plain

PIPELINE_ZERO = 1  # DeepSpeed's pipeline engine refuses to partition gradients (`runtime/pipe/engine.py`)


@dataclass(frozen=True)
class Layout:
    """`data`, `tensor` and `pipeline` count ranks in each direction; their product is the number of ranks.

    `micro_batch` counts sequences of one forward and backward on one data rank. `zero` is DeepSpeed's stage
    (Rajbhandari et al. 2020). `sequence_parallel` keeps what lies between the tensor-parallel products cut along the
    sequence, and `recompute` drops activations and computes them again in the backward pass: `selective` all but
    matrix products and attention, `whole` everything inside a block (Korthikanti et al. 2022).
    """

    engine: Literal["native", "deepspeed"] = "native"
    data: int = 1
    tensor: int = 1
    pipeline: int = 1
    zero: int = 0
    micro_batch: int = 1
    sequence_parallel: bool = False
    recompute: Literal["none", "selective", "whole"] = "none"
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        for name in ("data", "tensor", "pipeline", "micro_batch"):
            require(getattr(self, name) >= 1, f"layout: {name} is {getattr(self, name)}; it must be at least 1")
        require(self.engine in ("native", "deepspeed"), f"layout: engine is {self.engine!r}; native or deepspeed")
        require(0 <= self.zero <= 3, f"layout: zero is {self.zero}; the stages are 0 to 3")
        require(
            self.engine == "deepspeed" or (self.ranks == 1 and self.zero == 0),
            f"layout: the native engine is one process without ZeRO, not {self.ranks} ranks with stage {self.zero}; "
            "use the engine 'deepspeed'",
        )
        require(
            self.pipeline == 1 or self.zero <= PIPELINE_ZERO,
            f"layout: a pipeline of {self.pipeline} stages goes with ZeRO 0 or 1, not {self.zero}",
        )
        require(
            self.tensor > 1 or not self.sequence_parallel,
            "layout: sequence_parallel needs tensor above 1; it cuts what tensor parallelism leaves whole",
        )

    @property
    def ranks(self) -> int:
        """All processes."""
        return self.data * self.tensor * self.pipeline

    def accumulation(self, batch: int) -> int:
        """Micro-batches of a rank in a step of `batch` sequences. Raises ValueError when they do not come out even."""
        accumulation, rest = divmod(batch, self.micro_batch * self.data)
        if rest or accumulation < 1:
            raise ValueError(
                f"a batch of {batch} sequences is not a multiple of micro_batch {self.micro_batch} times {self.data} "
                "data ranks; change the micro-batch or the ranks"
            )
        return accumulation

    def share(self, sequences: range, data_rank: int) -> list[range]:
        """A data rank's micro-batches of a step: micro-steps follow each other, each cut into one stretch a rank."""
        micro_step = self.micro_batch * self.data
        firsts = range(sequences.start + data_rank * self.micro_batch, sequences.stop, micro_step)
        return [range(first, first + self.micro_batch) for first in firsts]

    def to_plain(self) -> dict[str, Any]:
        """As it stands in the logbook and on the trainer's command line."""
        values: dict[str, Any] = to_plain(self)
        return values


def layout_from(values: dict[str, Any]) -> Layout:
    """The layout in a mapping such as `Layout.to_plain` gives. Raises ValueError naming the field."""
    return from_plain(Layout, values, "layout")
