"""What a run that continues from another run's checkpoint inherits of that run's position in the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from model.run.config import RunConfig
from model.run.events import Inherited


def take_over(config: RunConfig, before: RunConfig, reached: int, inherited: Inherited) -> RunConfig:
    """The run `config` with what it inherits from `before`, whose checkpoint at `config.first_step` it continues.

    If both runs have the same sequences, the run continues at sequence `reached`, where `before` stood, and skips what
    `before` would have skipped. With other data, or the same data in another order, it begins at the first sequence.
    GPT-NeoX's order depends on the length of the run: it is the same if both runs have equally many sequences left.
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
    left = [(run.training.steps - config.first_step) * run.training.batch for run in (config, before)]
    return config.training.compat != "neox" or left[0] == left[1]


def _data(config: RunConfig) -> list[Any]:
    training = config.training
    seed = None if training.compat == "rows" else config.seed  # rows are read in stored order
    sources = [[source.name, source.weight, source.digest] for source in config.sources]
    return [sources, training.sequence_length, training.packing, training.compat, training.split, seed]
