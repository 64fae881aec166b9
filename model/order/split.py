"""GPT-NeoX's split of the documents of one data path into those for training, validation and testing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate


def split_documents(shares: Sequence[float], documents: int) -> list[range]:
    """The documents of each share, one after the other in file order.

    From `megatron/data/data_utils.py`, `get_train_valid_test_split_`: each part has its share rounded, half to even,
    and what the parts then hold too much or too little is moved to the first of them.
    """
    total = sum(shares)
    ends = list(accumulate(round(share / total * float(documents)) for share in shares))
    ends = [end - (ends[-1] - documents) for end in ends]
    return [range(start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]
