"""Boxes: hyper-rectangles in the coordinates of a whole tensor; training state is sharded and stored as boxes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from model.configuration import require


@dataclass(frozen=True, slots=True)
class Box:
    """The elements from `start` to `start + shape`, exclusive, in every dimension of a tensor."""

    start: tuple[int, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        require(
            len(self.start) == len(self.shape) and min((*self.start, *self.shape), default=0) >= 0,
            f"box: start {self.start} and shape {self.shape} must have the same length and no negative entries",
        )

    @property
    def stop(self) -> tuple[int, ...]:
        """The exclusive end in every dimension."""
        return tuple(first + length for first, length in zip(self.start, self.shape, strict=True))

    @property
    def elements(self) -> int:
        """The number of elements; 1 in a tensor without dimensions."""
        return math.prod(self.shape)

    def inside(self, outer: Box) -> tuple[slice, ...]:
        """The index of this box in a tensor that holds the enclosing box `outer`."""
        return tuple(
            slice(first - origin, first - origin + length)
            for first, origin, length in zip(self.start, outer.start, self.shape, strict=True)
        )


def whole(shape: tuple[int, ...]) -> Box:
    """The box of all elements of a tensor."""
    return Box((0,) * len(shape), tuple(shape))


def interval(shard: Box, first: int, length: int) -> list[Box]:
    """The elements `first` to `first + length` of a shard in row-major order, as disjoint boxes in that order.

    The boxes are in the coordinates of the whole tensor. There are at most 2n - 1 in n dimensions: the rest of a row,
    whole rows, the beginning of a row. Raises ValueError when the shard has no such elements.
    """
    require(
        min(first, length) >= 0 and first + length <= shard.elements,
        f"box: elements {first} to {first + length} are not within a shard of {shard.elements} elements",
    )
    if length == 0:
        return []
    if length == shard.elements:
        return [shard]
    row = math.prod(shard.shape[1:])
    top, skipped = divmod(first, row)
    boxes: list[Box] = []
    if skipped or length < row:
        taken = min(length, row - skipped)
        boxes += _in_row(shard, top, skipped, taken)
        top, length = top + 1, length - taken
    rows, rest = divmod(length, row)
    if rows:
        boxes.append(Box((shard.start[0] + top, *shard.start[1:]), (rows, *shard.shape[1:])))
    return boxes + (_in_row(shard, top + rows, 0, rest) if rest else [])


def intersection(first: Box, second: Box) -> Box | None:
    """The intersection of two boxes of one tensor; None when it is empty."""
    start = tuple(map(max, first.start, second.start))
    shape = tuple(min(ends) - begin for begin, *ends in zip(start, first.stop, second.stop, strict=True))
    return Box(start, shape) if min(shape, default=1) > 0 else None


def tiles(box: Box, pieces: Iterable[Box]) -> bool:
    """Whether the pieces cover every element of the box exactly once and no other element."""
    # Sorted by start, only neighbours can overlap, so row shards are compared in linear time.
    ordered = sorted((piece for piece in pieces if piece.elements), key=lambda piece: piece.start)
    if sum(piece.elements for piece in ordered) != box.elements:
        return False
    for number, piece in enumerate(ordered):
        if intersection(piece, box) != piece:
            return False
        for following in range(number + 1, len(ordered)):
            if ordered[following].start[:1] >= piece.stop[:1]:
                break
            if intersection(piece, ordered[following]) is not None:
                return False
    return True


def _in_row(shard: Box, row: int, first: int, length: int) -> list[Box]:
    inner = interval(Box(shard.start[1:], shard.shape[1:]), first, length)
    return [Box((shard.start[0] + row, *box.start), (1, *box.shape)) for box in inner]
