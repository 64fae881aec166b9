import itertools
import time

import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pydantic
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import strategies

from tasks.near_duplicates.candidates import PAIR_SCHEMA, NearDuplicateConfig, map_bands, pair_up
from tasks.signatures import signatures, unpack_signatures
from tests.tasks.test_signatures import batch_of, read_articles


def annotated(texts, config):
    signed = signatures(batch_of(texts), config)
    return pa.table({"signatures.signature": signed["signature"]})


def pairs_of(shards, config):
    """All candidates of a list of annotated shards, through every partition, as tuples."""
    mapped = [(number, map_bands(table, config)) for number, table in enumerate(shards)]
    found = set()
    for partition in range(config.partitions):
        table = pair_up([(n, t.filter(pc.equal(t["partition"], partition))) for n, t in mapped], config)
        assert table.schema == PAIR_SCHEMA
        rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
        assert rows == sorted(set(rows))
        assert all(row[:2] < row[2:] for row in rows)
        found |= set(rows)
    return found


def buckets(sizes, shards=3):
    """Tables of one band, with a bucket of each size; documents are dealt out to shards in turn."""
    rows = [{"band": 0, "key": key, "document": i} for i, key in enumerate(np.repeat(range(len(sizes)), sizes))]
    return [
        (
            shard,
            pa.table(
                {
                    "band": pa.array([row["band"] for row in rows[shard::shards]], pa.int16()),
                    "key": pa.array([row["key"] for row in rows[shard::shards]], pa.uint64()),
                    "row": pa.array([row["document"] for row in rows[shard::shards]], pa.int32()),
                }
            ),
        )
        for shard in range(shards)
    ]


@pytest.mark.parametrize("weights", [(0.05, 0.95), (0.5, 0.5)])
@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.87, 0.95])
def test_bands_and_rows_are_those_that_datasketch_chooses(threshold, weights):
    index = MinHashLSH(threshold=threshold, num_perm=128, weights=weights)
    assert NearDuplicateConfig(threshold=threshold, weights=weights).bands_and_rows() == (index.b, index.r)


def test_bands_of_published_pipelines():
    # RedPajama 2 prints 9 bands of 13 rows for 0.8 with equal weights; FineWeb uses 14 of 8
    assert NearDuplicateConfig(weights=(0.5, 0.5)).bands_and_rows() == (9, 13)
    assert NearDuplicateConfig(permutations=112, bands=14, rows=8).bands_and_rows() == (14, 8)


def test_the_default_finds_95_percent_at_the_threshold():
    bands, rows = NearDuplicateConfig().bands_and_rows()
    assert 1 - (1 - 0.8**rows) ** bands == pytest.approx(0.947, abs=5e-4)


@pytest.mark.parametrize(
    "config",
    [
        NearDuplicateConfig(partitions=3),
        NearDuplicateConfig(threshold=0.3, partitions=5),
        NearDuplicateConfig(permutations=64, bands=32, rows=2, partitions=1),
    ],
)
def test_candidates_equal_the_answers_of_datasketch(shared_data, config):
    texts = [article["text"] for article in read_articles(shared_data)]
    shards = [annotated(texts[i : i + 300], config) for i in range(0, len(texts), 300)]
    index = MinHashLSH(num_perm=config.permutations, params=config.bands_and_rows())
    minhashes = {}
    for shard, table in enumerate(shards):
        rows, values = unpack_signatures(table["signatures.signature"], config.permutations)
        for row, value in zip(rows.tolist(), values, strict=True):
            minhashes[shard, row] = MinHash(hashvalues=value, seed=config.seed, scheme="affine32")
            index.insert((shard, row), minhashes[shard, row])
    expected = {
        tuple(sorted((document, other)))
        for document, minhash in minhashes.items()
        for other in index.query(minhash)
        if other != document
    }
    assert expected
    assert pairs_of(shards, config) == {left + right for left, right in expected}


def test_a_document_without_signature_is_in_no_bucket():
    config = NearDuplicateConfig(partitions=2)
    table = annotated(["", "the same few words", "", "the same few words"], config)
    bands = map_bands(table, config)
    assert set(bands["row"].to_pylist()) == {1, 3}
    assert bands.num_rows == 2 * config.bands_and_rows()[0]
    assert pairs_of([table], config) == {(0, 1, 0, 3)}
    assert pairs_of([annotated([], config), annotated(["", "."], config)], config) == set()


def test_partitions_are_in_range_and_used_evenly(shared_data):
    config = NearDuplicateConfig(partitions=8)
    table = map_bands(annotated([article["text"] for article in read_articles(shared_data)], config), config)
    assert table["partition"].type == pa.int32() and table["row"].type == pa.int32()
    counts = np.bincount(table["partition"].to_numpy(), minlength=8)
    assert len(counts) == 8 and counts.min() > 0.8 * counts.mean()


@hypothesis.settings(deadline=None)
@hypothesis.given(strategies.lists(strategies.integers(1, 9), max_size=8), strategies.integers(2, 6))
def test_small_buckets_give_all_pairs_and_large_ones_a_star_and_a_chain(sizes, cap):
    expected = set()
    start = 0
    for size in sizes:
        # document i of the buckets lies in shard i mod 3
        members = sorted((i % 3, i) for i in range(start, start + size))
        start += size
        pairs = itertools.combinations(members, 2)
        if size > cap:
            pairs = [(members[0], other) for other in members[1:]] + list(itertools.pairwise(members))
        expected |= {left + right for left, right in pairs}
    table = pair_up(buckets(sizes), NearDuplicateConfig(bucket_cap=cap))
    assert list(zip(*(column.to_pylist() for column in table.columns), strict=True)) == sorted(expected)


def test_the_order_of_rows_and_shards_makes_no_difference():
    tables = buckets([5, 1, 30, 2, 8])
    config = NearDuplicateConfig(bucket_cap=10)
    expected = pair_up(tables, config)
    random = np.random.default_rng(7)
    for _ in range(5):
        shuffled = [(shard, table.take(random.permutation(table.num_rows))) for shard, table in tables]
        random.shuffle(shuffled)
        assert pair_up(shuffled, config).equals(expected)


def test_a_giant_bucket_costs_linear_time():
    started = time.perf_counter()
    table = pair_up(buckets([500_000]), NearDuplicateConfig())
    # all pairs would be 1.2e11
    assert table.num_rows == 2 * 500_000 - 3
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"bands": 4}, "give both bands and rows"),
        ({"bands": 20, "rows": 7}, "bands x rows is 140, more than 128"),
        ({"weights": (0.5, 0.6)}, "sum to 1"),
        ({"threshold": 0.0}, "greater than 0"),
        ({"partitions": 0}, "greater than or equal to 1"),
        ({"bucket_cap": 1}, "greater than or equal to 2"),
    ],
)
def test_bad_values_fail_before_any_work(wrong, reason):
    with pytest.raises(pydantic.ValidationError, match=reason):
        NearDuplicateConfig(**wrong)
