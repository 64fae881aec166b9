"""The data order: pure, complete, mixed in proportion, and unmoved by what must not move it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest

from infra.store.tokens import TokenFile, TokenWriter
from model.order import PERIOD, DataOrder, MixtureSource, mixture_schedule, permuted, sequences_digest
from tests.model.small import write_text


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    return write_text(tmp_path_factory.mktemp("text"), sorted(topics)[:6])


def counting_file(folder: Path, tokens: int) -> TokenFile:
    """Token k is k."""
    folder.mkdir()
    with TokenWriter(folder / "t.bin", folder / "t.idx", 60_000) as writer:
        writer.append(range(tokens))
    return TokenFile(folder / "t.bin", folder / "t.idx")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1000])
def test_permutation_is_one(size: int) -> None:
    for key in (b"a", b"b"):
        assert sorted(permuted(index, size, key) for index in range(size)) == list(range(size))
    if size > 7:
        assert [permuted(index, size, b"a") for index in range(size)] != [
            permuted(index, size, b"b") for index in range(size)
        ]


def test_permutation_spreads() -> None:
    """Over 2,000 keys each of 10 places is taken about as often (chi-squared with 9 degrees, far tail at 40)."""
    seen = Counter(permuted(3, 10, str(key).encode()) for key in range(2000))
    assert sum((seen[place] - 200) ** 2 / 200 for place in range(10)) < 40


def test_an_epoch_reads_every_window_once(tmp_path: Path) -> None:
    source = MixtureSource("only", 1.0, 3, "digest", counting_file(tmp_path / "a", 1001))
    order = DataOrder([source], 10, seed=1)
    assert order.sequences == 300
    epochs = [[order.locate(index).window for index in range(start, start + 100)] for start in (0, 100, 200)]
    assert [sorted(windows) for windows in epochs] == [list(range(100))] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    first = order.locate(0)
    assert order.tokens(0).tolist() == list(range(first.first_token, first.first_token + 11))
    labels = sorted(int(token) for index in range(100) for token in order.tokens(index)[1:])
    assert labels == list(range(1, 1001)), "every token but the first is a label once"


def test_order_is_fixed_for_good(tmp_path: Path) -> None:
    """Known answers: a change of these breaks the resume of every run that exists."""
    file = counting_file(tmp_path / "a", 30_001)
    order = DataOrder([MixtureSource("a", 3, 9, "x", file), MixtureSource("b", 1, 9, "y", file)], 16, seed=5)
    found = [(location.source, location.window) for location in map(order.locate, range(8))]
    assert found == KNOWN
    assert sequences_digest(order.fingerprint, 5, range(8, 16)) == KNOWN_DIGEST


KNOWN = [("a", 126), ("a", 1174), ("b", 1740), ("a", 1066), ("a", 1080), ("a", 906), ("b", 831), ("a", 1848)]
KNOWN_DIGEST = "e1cbf4feffee45905ea1d04929a84a7f2e8e218a3aafcb327b45dd56d1778293"


def test_order_ignores_the_length_of_the_run(file: TokenFile) -> None:
    """Allowing more epochs makes the run longer and moves nothing; seed, data, weight and length do."""

    def order(epochs: int = 1, seed: int = 0, digest: str = "x", weight: float = 1.0, length: int = 16) -> DataOrder:
        return DataOrder(
            [MixtureSource("a", weight, epochs, digest, file), MixtureSource("b", 1.0, epochs, "y", file)], length, seed
        )

    base, longer = order(), order(epochs=4)
    assert longer.sequences == 4 * base.sequences and longer.fingerprint == base.fingerprint
    indices = range(0, base.sequences, 7)
    assert [base.locate(index) for index in indices] == [longer.locate(index) for index in indices]
    for other in (order(seed=1), order(digest="z"), order(weight=1.5)):
        assert [base.locate(index) for index in indices[:40]] != [other.locate(index) for index in indices[:40]]
    prints = {
        order(digest="z").fingerprint,
        order(weight=1.5).fingerprint,
        order(length=8).fingerprint,
        base.fingerprint,
    }
    assert len(prints) == 4


def test_out_of_range_raises(file: TokenFile) -> None:
    order = DataOrder([MixtureSource("a", 1, 1, "x", file), MixtureSource("b", 2, 1, "y", file)], 16, 0)
    order.locate(order.sequences - 1)
    for index in (-1, order.sequences):
        with pytest.raises(IndexError, match="source b may be read 1 times"):
            order.locate(index)
    counts = order.counts(order.sequences)
    assert counts["b"] == (file.tokens - 1) // 16, "b is read to its end"


@pytest.mark.parametrize("weights", [[67.0, 15.0, 4.5, 4.5, 4.5, 2.5, 2.0], [1.0, 1e-9], [1.0], [0.3, 0.3, 0.4]])
def test_mixture_is_met_in_every_window(weights: list[float]) -> None:
    """LLaMA's mixture (table 1) among others: within half a point in any 1,000 sequences, so in any 1,000 batches."""
    schedule = mixture_schedule(weights)
    wrapped = np.concatenate((schedule, schedule[:1000]))
    shares = np.array(weights) / sum(weights)
    for number, share in enumerate(shares):
        taken = np.cumsum(np.concatenate(([0], wrapped == number)))
        windows = (taken[1000:] - taken[:-1000]) / 1000
        assert np.abs(windows - share).max() < 0.005
        assert abs((schedule == number).mean() - share) <= 1 / PERIOD


def test_counts_agree_with_locations(file: TokenFile) -> None:
    order = DataOrder([MixtureSource("a", 3, 99, "x", file), MixtureSource("b", 1, 99, "y", file)], 16, 0)
    for sequences in (1, 100, PERIOD + 17):
        if sequences <= order.sequences:
            found = Counter(order.locate(index).source for index in range(sequences))
            assert dict(found) == {name: count for name, count in order.counts(sequences).items() if count}


@pytest.mark.parametrize("sequence_length", [0, 10**6])
def test_bad_lengths_are_refused(file: TokenFile, sequence_length: int) -> None:
    with pytest.raises(ValueError, match=r"at least 1|fewer than one sequence"):
        DataOrder([MixtureSource("a", 1, 1, "x", file)], sequence_length, 0)


def test_bad_sources_are_refused(file: TokenFile) -> None:
    good = MixtureSource("a", 1, 1, "x", file)
    for sources in ([], [good, good], [MixtureSource("a", 0, 1, "x", file)], [MixtureSource("a", 1, 0, "x", file)]):
        with pytest.raises(ValueError, match="source"):
            DataOrder(sources, 16, 0)
