"""Trees against a walk in plain Python, and their file."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest

from tasks.html.choice import FOREST_FILE, FOREST_SHA256
from tasks.html.context import CONTEXT
from tasks.html.features import BITS, NUMBERS
from tasks.html.forest import Forest, read_forests, write_forests


def test_probabilities_are_those_of_the_trees() -> None:
    for forest in read_forests(FOREST_FILE, FOREST_SHA256):
        random = np.random.default_rng(3)
        numbers = random.normal(0, 50, (20, forest.first_bit)).astype(np.float32)
        bits = random.integers(0, 2**63, (20, 4), np.uint64)
        expected = []
        for row in range(20):
            log_odds = 0.0
            for node in forest.roots.tolist():
                while node >= 0:
                    feature = int(forest.features[node])
                    if feature < forest.first_bit:
                        low = float(numbers[row, feature]) <= forest.thresholds[node]
                    else:
                        group, bit = divmod(feature - forest.first_bit, 64)
                        low = not int(bits[row, group]) >> bit & 1
                    node = int((forest.left if low else forest.right)[node])
                log_odds += forest.leaves[-1 - node]
            expected.append(1 / (1 + math.exp(-log_odds)))
        assert forest.probabilities(numbers, bits) == pytest.approx(expected, abs=0.002)


def test_columns_are_those_that_the_pages_have() -> None:
    first, second = read_forests(FOREST_FILE, FOREST_SHA256)
    assert (first.first_bit, second.first_bit) == (len(NUMBERS), len(NUMBERS) + len(CONTEXT))
    assert max(first.features.max() - first.first_bit, second.features.max() - second.first_bit) < len(BITS)


def test_a_file_gives_the_forests_that_were_written(tmp_path: Path) -> None:
    forest = Forest(
        2,
        np.array([0], np.int32),
        np.array([1], np.int32),
        np.array([0.5]),
        np.array([-1], np.int32),
        np.array([-2], np.int32),
        np.array([-20.0, 20.0]),
    )
    write_forests(tmp_path / "forest.npz", [forest, forest])
    digest = hashlib.sha256((tmp_path / "forest.npz").read_bytes()).hexdigest()
    _, again = read_forests(tmp_path / "forest.npz", digest)
    found = again.probabilities(np.array([[9, 0.5], [0, 0.75]], np.float32), np.zeros((2, 1), np.uint64))
    assert found.tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="not the file that this version has"):
        read_forests(tmp_path / "forest.npz", FOREST_SHA256)
