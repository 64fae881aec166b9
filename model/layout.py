"""How a run is parallelized and executed: engine, ranks per dimension, ZeRO stage. Not part of a run's identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from model.configuration import about, from_plain, require, require_limits, to_plain

PIPELINE_ZERO = 1  # DeepSpeed's pipeline engine refuses to partition gradients (`runtime/pipe/engine.py`)


@dataclass(frozen=True)
class Layout:
    """How a run is parallelized. The number of ranks is data · tensor · pipeline.

    ZeRO: Rajbhandari et al. 2020. Sequence parallelism and selective recomputation: Korthikanti et al. 2022.
    """

    engine: Literal["native", "deepspeed"] = field(
        default="native", metadata=about("Plain PyTorch in one process (native), or DeepSpeed.")
    )
    data: int = field(default=1, metadata=about("Data-parallel ranks.", ge=1))
    tensor: int = field(default=1, metadata=about("Tensor-parallel ranks.", ge=1))
    pipeline: int = field(default=1, metadata=about("Pipeline stages.", ge=1))
    zero: int = field(
        default=0, metadata=about("ZeRO stage of DeepSpeed, 0 to 3; at most 1 with a pipeline.", ge=0, le=3)
    )
    micro_batch: int = field(
        default=1, metadata=about("Sequences per forward and backward pass of a data-parallel rank.", ge=1)
    )
    sequence_parallel: bool = field(
        default=False, metadata=about("Shard activations between tensor-parallel layers along the sequence.")
    )
    recompute: Literal["none", "selective", "whole"] = field(
        default="none",
        metadata=about("Activation checkpointing: none, all but matmuls and attention, or whole blocks."),
    )
    device: Literal["cpu", "cuda"] = field(default="cpu", metadata=about("Device of all ranks."))

    def __post_init__(self) -> None:
        require_limits(self, "layout")
        require(
            self.engine in ("native", "deepspeed"), f"layout: engine is {self.engine!r}; it must be native or deepspeed"
        )
        require(
            self.engine == "deepspeed" or (self.ranks == 1 and self.zero == 0),
            f"layout: the native engine is one process without ZeRO, and the layout has {self.ranks} ranks with ZeRO "
            f"stage {self.zero}; use the engine 'deepspeed'",
        )
        require(
            self.pipeline == 1 or self.zero <= PIPELINE_ZERO,
            f"layout: a pipeline of {self.pipeline} stages needs ZeRO stage 0 or 1, and zero is {self.zero}; lower it",
        )
        require(
            self.tensor > 1 or not self.sequence_parallel,
            "layout: sequence_parallel needs tensor above 1, since it shards over tensor ranks; set it to false",
        )

    @property
    def ranks(self) -> int:
        """The number of processes."""
        return self.data * self.tensor * self.pipeline

    def accumulation(self, batch: int) -> int:
        """Micro-batches per rank in a step of `batch` sequences. Raises ValueError when it is not divisible."""
        accumulation, rest = divmod(batch, self.micro_batch * self.data)
        if rest or accumulation < 1:
            raise ValueError(
                f"a batch of {batch} sequences is not a multiple of micro_batch {self.micro_batch} times {self.data} "
                "data ranks; change the micro-batch or the ranks"
            )
        return accumulation

    def share(self, sequences: range, data_rank: int) -> list[range]:
        """A data rank's micro-batches in a step: each micro-step is split into one contiguous range per data rank."""
        micro_step = self.micro_batch * self.data
        firsts = range(sequences.start + data_rank * self.micro_batch, sequences.stop, micro_step)
        return [range(first, first + self.micro_batch) for first in firsts]

    def to_plain(self) -> dict[str, Any]:
        """The layout as stored in the logbook and passed on the trainer's command line."""
        values: dict[str, Any] = to_plain(self)
        return values


def layout_from(values: dict[str, Any]) -> Layout:
    """Parse a mapping such as `Layout.to_plain` returns. Raises ValueError naming the field."""
    return from_plain(Layout, values, "layout")
