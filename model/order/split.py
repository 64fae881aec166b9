"""GPT-NeoX's split of one data path's documents into training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate


def split_documents(shares: Sequence[float], documents: int) -> list[range]:
    """The documents of each share, consecutive in file order.

    From `megatron/data/data_utils.py`, `get_train_valid_test_split_`: each part is its share rounded half to even, and
    the first part absorbs the difference from the total.
    """
    total = sum(shares)
    ends = list(accumulate(round(share / total * float(documents)) for share in shares))
    ends = [end - (ends[-1] - documents) for end in ends]
    return [range(start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]
