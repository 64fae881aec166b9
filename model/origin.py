"""What a run takes over from another whose checkpoint it begins with, beside that checkpoint's state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from model.configuration import to_plain
from model.events import Inherited

if TYPE_CHECKING:
    from model.run import RunConfig


@dataclass(frozen=True)
class Origin:
    """The checkpoint of another run whose whole state this run begins with, after `step` steps of it.

    `next_sequence` is where it goes on in its own data: where the other stood, or 0 in other data. `samples` is what
    GPT-NeoX's order was made for where this run goes on in it. `inherited` is what changes and skips had made of the
    other's course by then, None for nothing.
    """

    run: str
    step: int
    digest: str
    next_sequence: int
    samples: int | None = None
    inherited: Inherited | None = None

    def to_plain(self) -> dict[str, Any]:
        """As stored in run.json, where what was not taken over is left out."""
        return {name: value for name, value in to_plain(self).items() if value is not None}


def take_over(config: RunConfig, before: RunConfig, reached: int, inherited: Inherited) -> RunConfig:
    """The run `config` with what it takes over from `before`, whose checkpoint at `config.first_step` it begins with.

    In the very sequences of `before` it goes on at `reached`, where that stood, and leaves out what that would have; in
    other data, or in another order of them, it begins at the first. GPT-NeoX's order is the same as long as there is
    as much left to read: it depends on the length of the run.
    """
    assert config.origin is not None
    if not _same_sequences(config, before):
        inherited = replace(inherited, left_out=())
        origin = replace(config.origin, next_sequence=0, samples=None)
    else:
        samples = before.samples if config.training.compat == "neox" else None
        origin = replace(config.origin, next_sequence=reached, samples=samples)
    return replace(config, origin=replace(origin, inherited=None if inherited == Inherited() else inherited))


def _same_sequences(config: RunConfig, before: RunConfig) -> bool:
    """Whether each sequence holds the same tokens in both runs."""
    if _data(config) != _data(before):
        return False
    left = [(one.training.steps - config.first_step) * one.training.batch for one in (config, before)]
    return config.training.compat != "neox" or left[0] == left[1]


def _data(config: RunConfig) -> list[Any]:
    training = config.training
    seed = None if training.compat == "rows" else config.seed  # rows are read as they are stored
    sources = [[source.name, source.weight, source.digest] for source in config.sources]
    return [sources, training.sequence_length, training.packing, training.compat, training.split, seed]
