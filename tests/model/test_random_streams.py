"""Which ranks draw the same for dropout, and when a rank may take its old streams up again."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model.layout import Layout
from model.parallel.ranks import MeshCoordinates
from model.training.random_streams import fresh_streams, seating


@pytest.fixture(autouse=True)
def _streams_as_before() -> Iterator[None]:
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


def launch(sequence_parallel: bool) -> Any:
    layout = Layout(engine="deepspeed", data=2, tensor=2, pipeline=2, sequence_parallel=sequence_parallel)
    return SimpleNamespace(layout=layout, config=SimpleNamespace(seed=7))


def drawn(place: MeshCoordinates, sequence_parallel: bool, step: int = 3) -> float:
    fresh_streams(launch(sequence_parallel), SimpleNamespace(coordinates=place), step)  # type: ignore[arg-type]
    return torch.rand(1).item()


@pytest.mark.parametrize("sequence_parallel", [False, True])
def test_data_ranks_stages_and_steps_draw_differently(sequence_parallel: bool) -> None:
    places = [MeshCoordinates(0, 0, 0), MeshCoordinates(1, 0, 0), MeshCoordinates(0, 1, 0)]
    numbers = [drawn(place, sequence_parallel) for place in places] + [drawn(places[0], sequence_parallel, step=4)]
    assert len(set(numbers)) == 4


def test_tensor_ranks_draw_alike_where_they_hold_the_same() -> None:
    assert drawn(MeshCoordinates(0, 0, 0), False) == drawn(MeshCoordinates(0, 0, 1), False)
    # Each holds another part of the sequence, whose places would else be dropped in step.
    assert drawn(MeshCoordinates(0, 0, 0), True) != drawn(MeshCoordinates(0, 0, 1), True)


def test_streams_of_ranks_that_hold_other_parts_are_not_taken_up() -> None:
    assert seating(launch(False)) != seating(launch(True))
