"""A line for every step of a run, kept so that no kill can lose one that a checkpoint stands on.

The lines up to a checkpoint are written before it is committed, in an object named by its step; a resumed run computes
the later ones again, to the same bits. Those since the newest checkpoint are also in `tail.jsonl`, for who watches.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from infra.store.digests import canonical
from infra.store.errors import NotThere
from infra.store.lake import Lake


@dataclass(frozen=True, slots=True)
class StepRecord:
    """Step `step` (from 1, after its update): the loss before the update in nats per token, the gradient's norm before
    clipping, the learning rate, the tokens read so far, the digest of the sequences it took and the first of them, and
    its wall time. A loss or norm that was not finite is None. When the update was `skipped`, `cause` says why; `scale`
    is fp16's loss scale in the step. `validation_loss` is that after the update, where it was taken.
    """

    step: int
    loss: float | None
    gradient_norm: float | None
    learning_rate: float
    tokens: int
    sequences: str
    first_sequence: int
    seconds: float
    skipped: bool = False
    cause: str = ""
    scale: float | None = None
    validation_loss: float | None = None


class Losses:
    """The writer of a run's step records: used by rank 0 alone."""

    def __init__(self, lake: Lake, run: str) -> None:
        self.lake, self.run = lake, run
        self._since_checkpoint: list[StepRecord] = []

    def begin(self, step: int) -> None:
        """The run goes on after `step`: what stands on record of later steps will be taken again, or never was."""
        self._since_checkpoint = []
        for entry in list(self.lake.list(_folder(self.run))):
            name = entry.path.rpartition("/")[2].removesuffix(".jsonl")
            if name == "tail" or int(name.removeprefix("step-")) > step:
                self.lake.delete(entry.path)

    def add(self, record: StepRecord) -> None:
        """Take one step; nothing is written yet."""
        self._since_checkpoint.append(record)

    def write_tail(self) -> None:
        """Show the steps since the newest checkpoint."""
        self.lake.write(f"{_folder(self.run)}/tail.jsonl", _lines(self._since_checkpoint))

    def commit(self, step: int) -> None:
        """Keep the steps up to the checkpoint after `step`; call it before that checkpoint is committed."""
        if self._since_checkpoint:
            self.lake.write(f"{_folder(self.run)}/step-{step:06d}.jsonl", _lines(self._since_checkpoint))
        self._since_checkpoint = []


def read_losses(lake: Lake, run: str) -> list[StepRecord]:
    """All steps on record, by step, each once."""
    records: dict[int, StepRecord] = {}
    # "tail" sorts after the steps; what stands beside a checkpoint has precedence.
    for entry in reversed(list(lake.list(_folder(run)))):
        try:
            lines = lake.read(entry.path).splitlines()
        except NotThere:  # replaced since the listing
            continue
        records.update((record.step, record) for record in (StepRecord(**json.loads(line)) for line in lines))
    return [records[step] for step in sorted(records)]


def _folder(run: str) -> str:
    return f"runs/{run}/losses"


def _lines(records: list[StepRecord]) -> bytes:
    return b"".join(canonical(asdict(record)) + b"\n" for record in records)
