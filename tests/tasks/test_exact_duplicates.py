"""Exact duplicates: the same text, and nothing else."""

from __future__ import annotations

import hypothesis
import pyarrow as pa
from hypothesis import strategies

from tasks.exact_duplicates import ExactDuplicatesConfig, exact_duplicates
from tests.tasks.partitioned import run_partitioned


def clusters(texts: list[str], size: int, partitions: int, config: ExactDuplicatesConfig) -> list[str | None]:
    table = pa.table({"id": [str(number) for number in range(len(texts))], "text": pa.array(texts, pa.string())})
    shards = [table.slice(start, size) for start in range(0, len(texts), size)]
    found = run_partitioned(exact_duplicates, shards, config, partitions)
    return [name for shard in found for name in shard["cluster"].to_pylist()]


@hypothesis.settings(deadline=None)
@hypothesis.given(
    strategies.lists(strategies.sampled_from(["", "a", "A", "a b", "a  b", "日本"]), min_size=1, max_size=12),
    strategies.integers(1, 5),
    strategies.integers(1, 3),
)
def test_equal_texts_are_together(texts: list[str], size: int, partitions: int) -> None:
    for config, key in (
        (ExactDuplicatesConfig(), str),
        (ExactDuplicatesConfig(ignore_case_and_space=True), lambda text: " ".join(text.casefold().split())),
    ):
        found = clusters(texts, size, partitions, config)
        keys = [key(text) for text in texts]
        for name, text in zip(found, keys, strict=True):
            assert (name is not None) == (text != "" and keys.count(text) > 1)
        for one, other in zip(found, keys, strict=True):
            same = [name for name, text in zip(found, keys, strict=True) if text == other]
            assert set(same) == {one}
