"""Candidates: the choice of bands, and which documents share a key."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pydantic
import pytest
from datasketch import MinHash, MinHashLSH

from tasks.near_duplicates.candidates import map_keys
from tasks.near_duplicates.config import NearDuplicateConfig, candidate_probability, choose_bands
from tasks.signatures import signatures, unpack_signatures
from tasks.text.bands import band_keys
from tests.tasks.test_signatures import batch_of, read_articles


def signed(texts: list[str | None], config: NearDuplicateConfig) -> pa.Table:
    """Documents with their signatures beside them."""
    batch = batch_of(texts)
    return batch.append_column("signatures.signature", signatures(batch, config)["signature"])


def test_bands_that_find_nearly_all_pairs_within_128_permutations() -> None:
    assert choose_bands(0.8, 128) == (18, 7)
    assert choose_bands(0.87, 128) == (14, 9)
    assert choose_bands(0.9, 128) == (11, 11)
    assert choose_bands(0.95, 128) == (8, 16)
    assert NearDuplicateConfig().bands_and_rows() == (18, 7)


@pytest.mark.parametrize("threshold", [round(0.5 + 0.01 * step, 2) for step in range(50)])
def test_the_choice_keeps_its_promise(threshold: float) -> None:
    bands, rows = choose_bands(threshold, 128)
    assert candidate_probability(min(threshold + 0.05, 1.0), bands, rows) >= 0.999
    assert candidate_probability(threshold, bands, rows) >= 0.98
    assert bands * rows <= 128


def test_bands_of_published_pipelines_can_be_set() -> None:
    assert NearDuplicateConfig(permutations=112, bands=14, rows=8).bands_and_rows() == (14, 8)  # FineWeb


@pytest.mark.parametrize(
    "config", [NearDuplicateConfig(), NearDuplicateConfig(permutations=64, bands=32, rows=2)], ids=["default", "32x2"]
)
def test_candidates_equal_the_answers_of_datasketch(shared_data, config) -> None:  # type: ignore[no-untyped-def]
    texts = [article["text"] for article in read_articles(shared_data)]
    table = signed(texts, config)
    rows, values = unpack_signatures(table["signatures.signature"], config.permutations)
    index = MinHashLSH(num_perm=config.permutations, params=config.bands_and_rows())
    minhashes = [MinHash(hashvalues=value, seed=config.seed, scheme="affine32") for value in values]
    for row, minhash in zip(rows.tolist(), minhashes, strict=True):
        index.insert(row, minhash)
    expected = {
        tuple(sorted((row, other)))
        for row, minhash in zip(rows.tolist(), minhashes, strict=True)
        for other in index.query(minhash)
        if other != row
    }
    buckets: dict[int, list[int]] = {}
    keys = map_keys(table, config)
    for key, row in zip(keys["key"].to_pylist(), keys["row"].to_pylist(), strict=True):
        buckets.setdefault(key, []).append(row)
    found = {pair for bucket in buckets.values() for pair in itertools.combinations(sorted(bucket), 2)}
    assert expected and found == expected


def test_the_curve_of_candidates_is_that_of_the_formula() -> None:
    """Within three standard deviations at twenty similarities: values of signatures agree with the probability s."""
    random = np.random.default_rng(3)
    pairs = 4000
    bands, rows = 18, 7
    for jaccard in np.linspace(0.05, 1.0, 20):
        left = random.integers(0, 2**32, (pairs, bands * rows), np.uint32)
        other = random.integers(0, 2**32, left.shape, np.uint32)
        right = np.where(random.random(left.shape) < jaccard, left, other)
        shared = (band_keys(left, bands, rows) == band_keys(right, bands, rows)).any(axis=1).mean()
        expected = candidate_probability(float(jaccard), bands, rows)
        assert abs(shared - expected) <= 3 * (expected * (1 - expected) / pairs) ** 0.5 + 1e-9


def test_a_document_without_words_shares_nothing() -> None:
    config = NearDuplicateConfig()
    keys = map_keys(signed(["", "the same few words", "...", "the same few words"], config), config)
    assert set(keys["row"].to_pylist()) == {1, 3}
    assert keys.num_rows == 2 * 18
    containment = NearDuplicateConfig(similarity="containment")
    assert set(map_keys(batch_of(["", "the same few words", "..."]), containment)["row"].to_pylist()) == {1}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"bands": 4}, "give both bands and rows"),
        ({"bands": 20, "rows": 7}, "bands x rows is 140, more than 128"),
        ({"threshold": 0.0}, "greater than 0"),
        ({"similarity": "containment", "mode": "pile_dedupe"}, "are for similarity: jaccard"),
        ({"similarity": "containment", "mode": "components"}, "are for similarity: jaccard"),
        ({"partitions": 16}, "Extra inputs"),
    ],
)
def test_bad_values_fail_before_any_work(wrong: dict[str, object], reason: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=reason):
        NearDuplicateConfig(**wrong)  # type: ignore[arg-type]
