"""The random streams of a rank, for dropout: their seeds, and their states in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from model.architectures.initialisation import keyed_generator
from model.engine import Engine
from model.training.records import Launch


def fresh_streams(launch: Launch, engine: Engine, step: int) -> None:
    """Seed this rank's random streams, for dropout, from the run's seed, the rank's coordinates and the step.

    Tensor ranks share streams, so that replicated activations get the same dropout. (Megatron-LM,
    `core/tensor_parallel/random.py`, uses different streams for the heads of different ranks; here all drop the same
    positions.) With sequence parallelism no replicated activation has dropout, and each tensor rank has its own stream.
    """
    place = f"data rank {engine.coordinates.data}, stage {engine.coordinates.stage}, step {step}"
    if launch.layout.sequence_parallel:
        place += f", tensor rank {engine.coordinates.tensor}"
    generator = keyed_generator(launch.config.seed, place)
    torch.set_rng_state(generator.get_state())
    if launch.layout.device == "cuda":
        torch.cuda.manual_seed(generator.initial_seed())


def seating(launch: Launch) -> list[int]:
    """The mesh, and whether the sequence is sharded. If it differs from the checkpoint's, streams are seeded again."""
    layout = launch.layout
    return [layout.data, layout.tensor, layout.pipeline, int(layout.sequence_parallel)]


def random_streams(launch: Launch) -> dict[str, Tensor]:
    """The states of this rank's generators by device."""
    streams = {"cpu": torch.get_rng_state()}
    return streams | ({"cuda": torch.cuda.get_rng_state()} if launch.layout.device == "cuda" else {})


def set_streams(streams: Mapping[str, Tensor]) -> None:
    """Set this rank's generators to states from `random_streams`."""
    torch.set_rng_state(streams["cpu"])
    if "cuda" in streams and torch.cuda.is_available():
        torch.cuda.set_rng_state(streams["cuda"])
