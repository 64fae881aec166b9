"""Boxes against NumPy: every element once, in flat order, and intersections as sets of elements."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.state.boxes import Box, intersection, interval, tiles, whole


@st.composite
def shards(draw: st.DrawFn, dimensions: tuple[int, ...] = (0, 1, 2, 3)) -> tuple[tuple[int, ...], Box]:
    """A tensor's shape and a box in it."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=(n := draw(st.sampled_from(dimensions))), max_size=n)))
    start = tuple(draw(st.integers(0, size - 1)) for size in shape)
    return shape, Box(start, tuple(draw(st.integers(1, size - at)) for size, at in zip(shape, start, strict=True)))


def elements(shape: tuple[int, ...], box: Box) -> list[int]:
    """The flat indices of a box in the whole tensor, in the box's row order."""
    numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    return numbers[box.inside(whole(shape))].ravel().tolist()


@settings(deadline=None)
@given(shards(), st.data())
def test_an_interval_is_covered_once_and_in_order(shard: tuple[tuple[int, ...], Box], data: st.DataObject) -> None:
    shape, box = shard
    first = data.draw(st.integers(0, box.elements))
    length = data.draw(st.integers(0, box.elements - first))
    boxes = interval(box, first, length)
    found = [element for one in boxes for element in elements(shape, one)]
    assert found == elements(shape, box)[first : first + length]
    assert len(boxes) <= max(1, 2 * len(shape) - 1)
    assert all(one.elements > 0 for one in boxes) and sum(one.elements for one in boxes) == length


@settings(deadline=None)
@given(shards(), st.data())
def test_consecutive_intervals_tile_the_shard(shard: tuple[tuple[int, ...], Box], data: st.DataObject) -> None:
    shape, box = shard
    cuts = sorted({0, box.elements, *data.draw(st.lists(st.integers(0, box.elements), max_size=4))})
    boxes = [one for first, last in pairwise(cuts) for one in interval(box, first, last - first)]
    assert [element for one in boxes for element in elements(shape, one)] == elements(shape, box)
    assert all(intersection(one, other) is None for one in boxes for other in boxes if one is not other)
    assert tiles(box, reversed(boxes))


@settings(deadline=None)
@given(st.data())
def test_an_intersection_is_the_common_elements(data: st.DataObject) -> None:
    shape, one = data.draw(shards())
    start = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    other = Box(start, tuple(data.draw(st.integers(0, size - at)) for size, at in zip(shape, start, strict=True)))
    common = sorted(set(elements(shape, one)) & set(elements(shape, other)))
    found = intersection(one, other)
    assert (found is None) == (not common) and found == intersection(other, one)
    if found is not None:
        assert elements(shape, found) == common


@settings(deadline=None)
@given(st.data())
def test_tiling_is_every_element_once(data: st.DataObject) -> None:
    shape, box = data.draw(shards((1, 2)))
    pieces = []
    for _ in range(data.draw(st.integers(1, 4))):
        start = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
        pieces.append(
            Box(start, tuple(data.draw(st.integers(0, size - at)) for size, at in zip(shape, start, strict=True)))
        )
    pieces += data.draw(st.sampled_from([[], [box], interval(box, 0, box.elements // 2)]))
    held = sorted(element for piece in pieces for element in elements(shape, piece))
    assert tiles(box, pieces) == (held == elements(shape, box))


def test_a_tiling_with_a_gap_and_an_overlap_of_one_size() -> None:
    assert tiles(whole((2, 2)), [Box((0, 0), (1, 2)), Box((1, 0), (1, 2))])
    assert not tiles(whole((2, 2)), [Box((0, 0), (1, 2)), Box((0, 1), (2, 1))])
    assert not tiles(whole((2, 2)), [Box((0, 0), (1, 2)), Box((2, 0), (1, 2))])
    assert tiles(Box((), ()), [Box((), ())]) and not tiles(Box((), ()), [Box((), ())] * 2)


def test_a_row_cut_in_the_middle() -> None:
    assert interval(whole((4, 5)), 3, 12) == [Box((0, 3), (1, 2)), Box((1, 0), (2, 5))]
    assert interval(whole((4, 5)), 3, 14) == [Box((0, 3), (1, 2)), Box((1, 0), (2, 5)), Box((3, 0), (1, 2))]
    assert interval(Box((2, 4), (2, 3)), 1, 4) == [Box((2, 5), (1, 2)), Box((3, 4), (1, 2))]
    assert interval(Box((), ()), 0, 1) == [Box((), ())]
    assert interval(whole((0, 3)), 0, 0) == []


@pytest.mark.parametrize(("first", "length"), [(-1, 1), (0, 21), (20, 1), (3, -1)])
def test_elements_that_a_shard_does_not_have(first: int, length: int) -> None:
    with pytest.raises(ValueError, match="shard of 20"):
        interval(whole((4, 5)), first, length)


@pytest.mark.parametrize(("start", "shape"), [((0,), (1, 1)), ((-1,), (1,)), ((0,), (-1,))])
def test_boxes_that_cannot_be(start: tuple[int, ...], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="box"):
        Box(start, shape)
