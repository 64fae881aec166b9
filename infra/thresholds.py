"""One test of a column against a range or labels, for floors, rules and reports alike."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc


def inside(
    column: pa.ChunkedArray | pa.Array,
    at_least: float | None = None,
    at_most: float | None = None,
    one_of: Sequence[str] | None = None,
) -> pa.ChunkedArray | pa.Array:
    """For each value, whether ``at_least ≤ value ≤ at_most`` and it is one of the labels.

    Null for null, and false for NaN.
    """
    found = pc.if_else(pc.is_valid(column), True, pa.scalar(None, pa.bool_()))
    if at_least is not None:
        found = pc.and_(found, pc.greater_equal(column, at_least))
    if at_most is not None:
        found = pc.and_(found, pc.less_equal(column, at_most))
    if one_of is not None:
        found = pc.and_(found, pc.is_in(column, pa.array(one_of, column.type)))
    return found
