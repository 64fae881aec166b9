"""From the records of a sample to those of the whole, by size."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from infra.store.ledger import Account
from tasks.forecast.growth import growth_of, shards_of, typical


def test_records_of_a_size_stand_for_those_of_that_size() -> None:
    # Ten of 100 small records give 10 bytes each, five of 10 large ones 1,000 each.
    measures = {"found/4": 100, "taken/4": 10, "documents/4": 10, "text_bytes/4": 100, "microseconds/4": 10}
    measures |= {"found/12": 10, "taken/12": 5, "documents/12": 5, "text_bytes/12": 5000, "microseconds/12": 500}
    growth = growth_of(Account(measures={**measures, "finding_microseconds": 7}), files=2, sizes=())
    assert (growth.found, growth.taken) == (220, 15)
    assert growth.all_documents == 2 * (100 + 10)
    assert growth.all_text_bytes == growth.all_documents * 5100 / 15
    assert growth.reading_seconds == pytest.approx(2 * (100 * 1 + 10 * 100 + 7) / 1e6)
    assert growth.read_seconds == pytest.approx((10 + 500 + 7) / 1e6)


def test_a_size_with_few_records_joins_its_neighbour() -> None:
    measures = {"found/4": 90, "taken/4": 9, "documents/4": 9, "found/5": 10}
    assert growth_of(Account(measures=measures), files=1, sizes=()).all_documents == 100


def test_a_sample_without_records_grows_to_nothing() -> None:
    growth = growth_of(Account(), files=1, sizes=())
    assert (growth.rows, growth.text, growth.all_documents) == (1.0, 1.0, 0)


def test_one_very_long_text_does_not_stand_for_all() -> None:
    chance = random.Random(5)
    samples = [[round(chance.lognormvariate(8, 1)) for _ in range(90)] for _ in range(100)]
    mean = math.exp(8.5)
    assert statistics.fmean(typical(one) * statistics.fmean(one) for one in samples) == pytest.approx(mean, rel=0.1)
    [sizes, *_] = samples
    with_one = [*sizes, 40 * max(sizes)]
    assert statistics.fmean(with_one) > 3 * mean and typical(with_one) * statistics.fmean(with_one) < 1.5 * mean
    # The more texts there are, the less is cut.
    many = [round(chance.lognormvariate(8, 1)) for _ in range(20_000)]
    assert typical(many) == pytest.approx(1.0, abs=0.01)
    assert typical([7] * 50) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("documents", "text", "found", "shards"),
    [(0, 0, 5, 0), (0, 0, 50, 1), (10, 100, 200, 1), (1001, 100, 20020, 3), (10, 7 << 20, 200, 3)],
)
def test_shards_of_a_file(documents: int, text: int, found: int, shards: int) -> None:
    measures = {"documents/4": documents, "text_bytes/4": text, "found/4": found}
    assert shards_of(Account(measures=measures), every=20) == shards
