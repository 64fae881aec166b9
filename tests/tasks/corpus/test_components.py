"""Clusters found in partitions are those of a graph in memory."""

from __future__ import annotations

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from infra.stage import StageConfig
from tasks.corpus.components import link_rows, place_members, shorten


def clusters(links: list[tuple[int, int]], count: int, partitions: int) -> tuple[dict[int, int], int]:
    """The cluster of each document that has a link, and the rounds it took. Document i has the name i + 1."""
    pairs = np.array(links, np.uint64).reshape(-1, 2) + np.uint64(1)
    names = np.unique(pairs)
    rows = [link_rows(pairs[:, 0], pairs[:, 1], names, names.astype(np.int64) - 1)]
    rounds = 0
    while True:
        given = [shorten(list(enumerate(parts(rows, p, partitions))), StageConfig()) for p in range(partitions)]
        rounds += 1
        if [table.to_pydict() for table in given] == [table.to_pydict() for table in rows]:
            break
        rows = given
    found: dict[int, int] = {}
    for partition in range(partitions):
        placed = place_members(list(enumerate(parts(rows, partition, partitions))), StageConfig())
        found |= dict(zip(placed["row"].to_pylist(), placed["cluster"].to_pylist(), strict=True))
    assert count >= len(found)
    return found, rounds


def parts(rows: list[pa.Table], partition: int, partitions: int) -> list[pa.Table]:
    """The rows of one partition. A name is no hash here, so neighbours are in different partitions."""
    return [
        table.filter(pa.array(table["partition"].to_numpy() % np.uint64(partitions) == partition)) for table in rows
    ]


def expected(links: list[tuple[int, int]], count: int) -> dict[int, int]:
    """The least document of each one's component, as a name."""
    left, right = zip(*links, strict=True) if links else ((), ())
    _, label = connected_components(coo_array((np.ones(len(links)), (left, right)), shape=(count, count)), False)
    first = {int(component): int(np.flatnonzero(label == component)[0]) for component in np.unique(label)}
    return {node: first[int(label[node])] + 1 for node in {node for link in links for node in link}}


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    strategies.lists(
        strategies.tuples(strategies.integers(0, 25), strategies.integers(0, 25)).filter(
            lambda link: link[0] != link[1]
        ),
        max_size=30,
    ),
    strategies.integers(1, 7),
)
def test_any_graph_in_any_number_of_partitions(links: list[tuple[int, int]], partitions: int) -> None:
    assert clusters(links, 26, partitions)[0] == expected(links, 26)


@pytest.mark.parametrize("partitions", [1, 16])
def test_a_long_chain_takes_few_rounds(partitions: int) -> None:
    count = 2000
    links = [(number, number + 1) for number in range(count - 1)]
    found, rounds = clusters(links, count, partitions)
    assert set(found.values()) == {1} and len(found) == count
    assert rounds <= 2 + np.log2(count)


def test_a_star_of_many_documents() -> None:
    found, _ = clusters([(0, number) for number in range(1, 20_000)], 20_000, 8)
    assert set(found.values()) == {1} and len(found) == 20_000
