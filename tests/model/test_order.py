"""The data order: pure, complete, mixed in proportion, and unmoved by what must not move it."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from model.order import (
    PERIOD,
    DataOrder,
    Packing,
    mixture_schedule,
    original,
    permuted,
    sequences_digest,
    tokens_digest,
)
from tests.model.support.small_tokens import source

LLAMA = [67.0, 15.0, 4.5, 4.5, 4.5, 2.5, 2.0]  # LLaMA (Touvron et al. 2023), table 1
SIZES = [7, 300, 1, 1, 52, 90, 13, 1000, 4]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1000])
def test_permutation_is_one(size: int) -> None:
    for key in (b"a", b"b"):
        images = [permuted(index, size, key) for index in range(size)]
        assert sorted(images) == list(range(size))
        assert [original(image, size, key) for image in images] == list(range(size))
    if size > 7:
        assert [permuted(index, size, b"a") for index in range(size)] != [
            permuted(index, size, b"b") for index in range(size)
        ]


def test_permutation_spreads() -> None:
    """Over 2,000 keys each of 10 places is taken about as often (chi-squared with 9 degrees, far tail at 40)."""
    seen = Counter(permuted(3, 10, str(key).encode()) for key in range(2000))
    assert sum((seen[place] - 200) ** 2 / 200 for place in range(10)) < 40


def test_an_epoch_reads_every_overlapping_window_once(tmp_path: Path) -> None:
    order = DataOrder([source(tmp_path, [1001], epochs=3)], 10, seed=1)
    assert order.sequences == 300
    epochs = [[order.locate(index).window for index in range(start, start + 100)] for start in (0, 100, 200)]
    assert [sorted(windows) for windows in epochs] == [list(range(100))] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    [(first, count)] = order.locate(0).spans
    assert order.tokens(0).tolist() == list(range(first, first + 11)) and count == 11
    labels = sorted(int(token) for index in range(100) for token in order.tokens(index)[1:])
    assert labels == list(range(1, 1001)), "every token but the first is a label once"


def test_blocks_share_nothing_and_lose_one_label_each(tmp_path: Path) -> None:
    """OPT's packing: 1,001 tokens are 91 blocks of 11; the first token of each is never a label."""
    order = DataOrder([source(tmp_path, [501, 500], epochs=1)], 10, seed=1, packing="blocks")
    assert order.sequences == 91
    rows = [order.tokens(index) for index in range(91)]
    assert sorted(np.concatenate(rows).tolist()) == list(range(1001))
    assert sorted(int(row[0]) for row in rows) == list(range(0, 1001, 11))


def test_order_is_fixed_for_good(tmp_path: Path) -> None:
    """Known answers: a change of these breaks the resume of every run that exists."""
    first, second = (source(tmp_path, [30_001], name, weight, 9) for name, weight in (("a", 3), ("b", 1)))
    found = {}
    for packing in ("overlapping", "blocks"):
        order = DataOrder([first, second], 16, seed=5, packing=packing)
        found[packing] = (
            [(location.source, location.window) for location in map(order.locate, range(6))],
            sequences_digest(order.fingerprint, 5, range(8, 16))[:16],
            tokens_digest(order, range(100))[:16],
        )
    assert found == KNOWN


KNOWN = {
    "overlapping": (
        [("a", 274), ("a", 1621), ("b", 1357), ("a", 771), ("a", 338), ("a", 552)],
        "ace5b59eea3744da",
        "677264d7bddf4230",
    ),
    "blocks": (
        [("a", 1280), ("a", 1310), ("b", 763), ("a", 1041), ("a", 858), ("a", 815)],
        "aceadd815850e60f",
        "75547bab2aab1a33",
    ),
}


def test_order_ignores_the_length_of_the_run(tmp_path: Path) -> None:
    """Allowing more epochs makes the run longer and moves nothing; seed, data, weight, length and packing do."""

    def order(
        name: str, epochs: int = 1, seed: int = 0, more: int = 0, weight: float = 1.0, packing: Packing = "overlapping"
    ) -> DataOrder:
        sources = [source(tmp_path / name, [*SIZES, *([7] * more)], "a", weight, epochs)]
        return DataOrder([*sources, source(tmp_path / name, SIZES, "b", 1.0, epochs)], 16, seed, packing)

    base, longer = order("base"), order("longer", epochs=4)
    assert longer.sequences == 4 * base.sequences and longer.fingerprint == base.fingerprint
    whole = range(base.sequences)
    assert tokens_digest(base, whole) == tokens_digest(longer, whole)
    others = [
        order("seed", seed=1),
        order("data", more=9),
        order("weight", weight=1.5),
        order("packing", packing="blocks"),
    ]
    for other in others:
        assert tokens_digest(other, range(40)) != tokens_digest(base, range(40))
    assert len({one.fingerprint for one in [base, *others[1:]]}) == 4


LAYOUTS = [(1, 1), (1, 4), (1, 16), (2, 1), (2, 4), (4, 1), (4, 2), (4, 4), (8, 2), (16, 1)]


def test_ten_layouts_read_the_same(tmp_path: Path) -> None:
    """Ranks and micro-batches cut a step of 16; each launch opens its own order, each rank reads in its own turn."""
    sources = [source(tmp_path, SIZES, "a", 3.0), source(tmp_path, SIZES[::-1], "b", 1.0)]
    steps, batch = 5, 16
    expected = tokens_digest(DataOrder(sources, 16, 3), range(steps * batch))
    for ranks, micro_batch in LAYOUTS:
        read, order = {}, DataOrder(sources, 16, 3)
        for rank in range(ranks):
            mine = [i for i in range(steps * batch) if i % batch // micro_batch % ranks == rank]
            random.Random(rank).shuffle(mine)
            read |= {index: order.tokens(index) for index in mine}
        assert len(read) == steps * batch

        class Put:
            def tokens(self, index: int, read: dict[int, np.ndarray] = read) -> np.ndarray:
                return read[index]

        assert tokens_digest(Put(), range(steps * batch)) == expected  # type: ignore[arg-type]


def test_another_process_reads_the_same(tmp_path: Path) -> None:
    order = DataOrder([source(tmp_path, SIZES, "a", 3.0), source(tmp_path, SIZES, "b", 1.0)], 16, 3)
    program = f"""
from pathlib import Path
from infra.store.tokens import TokenFile
from model.order import DataOrder, MixtureSource, tokens_digest
folder = Path({str(tmp_path)!r})
sources = [MixtureSource(n, w, 99, f"{{n}} of {SIZES}", TokenFile(folder / n / "t.bin", folder / n / "t.idx"))
           for n, w in (("a", 3.0), ("b", 1.0))]
print(tokens_digest(DataOrder(sources, 16, 3), range(200)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONHASHSEED": "7"})
    assert done.stdout.strip() == tokens_digest(order, range(200)), done.stderr


@pytest.mark.parametrize("packing", ["overlapping", "blocks"])
def test_out_of_range_raises(tmp_path: Path, packing: Packing) -> None:
    sources = [source(tmp_path, SIZES, "a", 1, 1), source(tmp_path, SIZES, "b", 2, 1)]
    order = DataOrder(sources, 16, 0, packing)
    order.locate(order.sequences - 1)
    for index in (-1, order.sequences):
        with pytest.raises(IndexError, match=r"source b may be read 1 times; allow more epochs"):
            order.locate(index)
    assert order.counts(order.sequences)["b"] == order.windows[1], "b is read to its end"


@pytest.mark.parametrize("batch", [1, 3, 64, 1024])
@pytest.mark.parametrize("weights", [LLAMA, [1.0, 1e-9], [1.0], [0.3, 0.3, 0.4]])
def test_the_mixture_is_met_in_every_thousand_batches(weights: list[float], batch: int) -> None:
    """In tokens, within half a point: sequences are of equal length, so their shares are those of the tokens."""
    schedule = mixture_schedule(weights)
    taken = np.cumsum(schedule[:, None] == np.arange(len(weights)), axis=0)
    taken = np.vstack((np.zeros((1, len(weights)), np.int64), taken))
    starts = np.arange(PERIOD)  # every place of the period where a window can begin, batch-aligned or not
    blocks, places = np.divmod(starts + 1000 * batch, PERIOD)
    counts = blocks[:, None] * taken[PERIOD] + taken[places] - taken[starts]
    shares = np.array(weights) / sum(weights)
    assert np.abs(counts / (1000 * batch) - shares).max() < 0.005


def test_counts_agree_with_locations(tmp_path: Path) -> None:
    order = DataOrder([source(tmp_path, SIZES, "a", 3, 900), source(tmp_path, SIZES, "b", 1, 900)], 16, 0)
    for sequences in (1, 100, PERIOD + 17):
        found = Counter(order.locate(index).source for index in range(sequences))
        assert dict(found) == {name: count for name, count in order.counts(sequences).items() if count}


@pytest.mark.parametrize("packing", ["overlapping", "blocks"])
def test_the_inverse_finds_every_sequence_of_a_document(tmp_path: Path, packing: Packing) -> None:
    order = DataOrder([source(tmp_path, SIZES, "a", 3), source(tmp_path, SIZES, "b", 1)], 16, 0, packing)
    stop = 700  # several passes over a
    read = {index: (order.locate(index).source, set(order.tokens(index).tolist())) for index in range(stop)}
    for name in ("a", "b"):
        for document in range(len(SIZES)):
            first, past = order.file(name).document_span(document)
            expected = [i for i, (where, tokens) in read.items() if where == name and tokens & set(range(first, past))]
            assert order.holding(name, first, past, stop) == expected
    assert order.holding("a", 5, 5, stop) == []


@pytest.mark.parametrize("length", [0, 10**6])
@pytest.mark.parametrize("packing", ["overlapping", "blocks"])
def test_bad_lengths_are_refused(tmp_path: Path, length: int, packing: Packing) -> None:
    with pytest.raises(ValueError, match=r"at least 1|fewer than one sequence"):
        DataOrder([source(tmp_path, SIZES)], length, 0, packing)


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    good = source(tmp_path, SIZES)
    with pytest.raises(ValueError, match="names that differ"):
        DataOrder([good, good], 16, 0)
    with pytest.raises(ValueError, match="names that differ"):
        DataOrder([], 16, 0)
    with pytest.raises(ValueError, match="weight 0"):
        DataOrder([source(tmp_path / "other", SIZES, weight=0)], 16, 0)
