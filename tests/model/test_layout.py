"""Layouts: what is refused, the accumulation, and that every layout takes each sequence of a step once."""

from __future__ import annotations

import pytest

from model.layout import Layout, layout_from
from model.parallel.cuts import stage_blocks
from model.parallel.ranks import coordinates_of

LAYOUTS = [
    Layout(micro_batch=2),
    Layout("deepspeed", data=2, micro_batch=2),
    Layout("deepspeed", data=4, zero=3, micro_batch=1),
    Layout("deepspeed", data=2, tensor=2, pipeline=2, zero=1, micro_batch=4),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_sequence_of_a_step_is_taken_once(layout: Layout) -> None:
    sequences = range(24, 48)
    shares = [layout.share(sequences, data) for data in range(layout.data)]
    taken = [index for share in shares for micro_batch in share for index in micro_batch]
    assert sorted(taken) == list(sequences)
    assert {len(share) for share in shares} == {layout.accumulation(24)}
    # One micro-step of all data ranks is a stretch: what a single process would take at once.
    first = sorted(index for share in shares for index in share[0])
    assert first == list(range(24, 24 + layout.micro_batch * layout.data))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_rank_has_a_place_of_its_own(layout: Layout) -> None:
    places = [coordinates_of(rank, layout) for rank in range(layout.ranks)]
    assert len(set(places)) == layout.ranks
    # Tensor ranks are neighbours, so that a machine holds whole groups of them.
    assert [place.tensor for place in places[: layout.tensor]] == list(range(layout.tensor))
    assert {place.stage for place in places} == set(range(layout.pipeline))


@pytest.mark.parametrize(("blocks", "pipeline"), [(44, 4), (7, 3), (2, 2), (5, 1)])
def test_stages_have_each_block_once_and_as_equally_as_can_be(blocks: int, pipeline: int) -> None:
    stages = [stage_blocks(blocks, pipeline, stage) for stage in range(pipeline)]
    assert [block for stage in stages for block in stage] == list(range(blocks))
    assert max(map(len, stages)) - min(map(len, stages)) <= 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"engine": "megatron"}, "one of native, deepspeed"),
        ({"engine": "native", "data": 2}, "use the engine 'deepspeed'"),
        ({"engine": "native", "zero": 1}, "use the engine 'deepspeed'"),
        ({"engine": "deepspeed", "data": 0}, "at least 1"),
        ({"engine": "deepspeed", "zero": 4}, "at least 0 and at most 3"),
        ({"engine": "deepspeed", "pipeline": 2, "zero": 2}, "needs ZeRO stage 0 or 1, and zero is 2"),
        ({"engine": "deepspeed", "data": 2, "sequence_parallel": True}, "needs tensor above 1"),
        ({"ranks": 2}, "no field 'ranks'"),
    ],
)
def test_layouts_that_cannot_be_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layout_from(values)


def test_an_uneven_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="a batch of 9 sequences is not a multiple of micro_batch 2 times 2"):
        Layout("deepspeed", data=2, micro_batch=2).accumulation(9)
    with pytest.raises(ValueError, match="2 blocks cannot fill a pipeline of 3 stages"):
        stage_blocks(2, 3, 0)


def test_a_layout_survives_its_way_through_a_command_line() -> None:
    for layout in LAYOUTS:
        assert layout_from(layout.to_plain()) == layout
