"""What a run that begins with a checkpoint of another run takes over from that run's data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from model.run.config import RunConfig
from model.run.events import Inherited


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
    left = [(run.training.steps - config.first_step) * run.training.batch for run in (config, before)]
    return config.training.compat != "neox" or left[0] == left[1]


def _data(config: RunConfig) -> list[Any]:
    training = config.training
    seed = None if training.compat == "rows" else config.seed  # rows are read as they are stored
    sources = [[source.name, source.weight, source.digest] for source in config.sources]
    return [sources, training.sequence_length, training.packing, training.compat, training.split, seed]
