"""GPT-NeoX's order: its index maps byte for byte, its blend, and every sequence, against a slow rewrite."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from model.order import MixtureSource, NeoxOrder, split_documents
from model.order.blending import blend, samples_of_sources
from model.order.index_maps import build_index_maps, epochs_needed, map_paths, read_index_maps, write_index_maps
from tests.model.support.slow_neox import slow_maps, slow_sequences
from tests.model.support.small_tokens import source

SIZES = [7, 300, 1, 1, 52, 90, 13, 1000, 4]
EMPTY = [0, 5, 0, 0, 40, 0, 9, 0]


def bytes_of(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


@pytest.mark.parametrize("sizes", [SIZES, EMPTY, [1] * 40, [4000]])
@pytest.mark.parametrize(("length", "wanted", "seed"), [(16, 1, 1234), (16, 500, 1), (7, 93, 0), (64, 1000, 1234)])
def test_maps_equal_the_slow_ones_byte_for_byte(
    tmp_path: Path, sizes: list[int], length: int, wanted: int, seed: int
) -> None:
    maps = build_index_maps(np.array(sizes, np.int32), np.arange(len(sizes)), length, wanted, seed)
    slow = slow_maps(sizes, list(range(len(sizes))), length, wanted, seed)
    paths = map_paths(tmp_path / "pile_text_document", "train_0", wanted, length, seed)
    write_index_maps(maps, paths)
    for path, expected in zip(paths, (slow.documents, slow.samples, slow.shuffle), strict=True):
        assert path.read_bytes() == bytes_of(expected)
    assert [path.name for path in paths] == [
        f"pile_text_document_train_0_indexmap_{wanted}ns_{length}sl_{seed}s_packedpi_ac_{kind}_idx.npy"
        for kind in ("doc", "sample", "shuffle")
    ]
    again = read_index_maps(paths)
    assert [again.documents.dtype, again.samples.dtype, again.shuffle.dtype] == [np.int32, np.int32, np.uint32]


def test_a_part_of_the_documents(tmp_path: Path) -> None:
    """As a `split` such as 995,4,1 makes of one file."""
    maps = build_index_maps(np.array(SIZES, np.int32), np.arange(2, 8), 16, 200, 9)
    slow = slow_maps(SIZES, list(range(2, 8)), 16, 200, 9)
    assert bytes_of(maps.documents) == bytes_of(slow.documents) and bytes_of(maps.samples) == bytes_of(slow.samples)


@pytest.mark.parametrize(
    ("shares", "documents", "ends"),
    [
        ((995, 4, 1), 1000, [995, 999, 1000]),
        ((995, 4, 1), 1234, [1228, 1233, 1234]),
        ((995, 4, 1), 1500, [1492, 1498, 1500]),  # 1492.5 and 1.5 are rounded to even
        ((995, 4, 1), 300, [299, 300, 300]),  # 298 + 1 + 0 are one too few
        ((969, 30, 1), 36, [35, 36, 36]),
        ((3, 3, 4), 5, [1, 3, 5]),  # 2 + 2 + 2 are one too many
        ((1, 0, 0), 7, [7, 7, 7]),
    ],
)
def test_a_split_is_rounded_as_the_original_does(shares: tuple[float, ...], documents: int, ends: list[int]) -> None:
    parts = split_documents(shares, documents)
    assert [part.stop for part in parts] == ends
    assert [index for part in parts for index in part] == list(range(documents))


def test_the_part_of_a_split(tmp_path: Path) -> None:
    """One data path is not blended: its samples are as many as are asked for, in the order of `shuffle_idx`."""
    sizes = SIZES * 3
    one = source(tmp_path, sizes)
    parts = split_documents((20, 5, 2), len(sizes))
    orders = [NeoxOrder([one], 16, 1234, 400, tmp_path / "cache", part) for part in parts[:2]]
    for order, part in zip(orders, parts, strict=False):
        slow = slow_maps(sizes, list(part), 16, 400, 1234)
        stream = [token for document in slow.documents for token in one.file.document(document).tolist()]
        assert order.sequences == len(slow.shuffle) - 1
        for index in range(order.sequences):
            begin = slow.shuffle[index] * 16
            assert order.tokens(index).tolist() == stream[begin : begin + 17]
        held = {token for index in range(order.sequences) for token in order.tokens(index).tolist()}
        first, past = one.file.sequence_starts[part.start], one.file.sequence_starts[part.stop]
        assert min(held) >= first and max(held) < past
        assert order.holding("a", 0, first, 400) == []
    whole = NeoxOrder([one], 16, 1234, 400, tmp_path / "cache")
    assert len({order.fingerprint for order in (*orders, whole)}) == 3
    with pytest.raises(ValueError, match="holds 0 tokens"):
        NeoxOrder([one], 16, 1234, 400, tmp_path / "cache", range(3, 3))
    with pytest.raises(ValueError, match="so give one"):
        NeoxOrder(sources_of(tmp_path / "more"), 16, 1234, 400, tmp_path / "cache", range(3))


def test_known_shuffles() -> None:
    """Of numpy's legacy generator with NeoX's default seed, so that no other may take its place."""
    maps = build_index_maps(np.full(8, 4, np.int32), np.arange(8), 3, 10, 1234)
    assert maps.documents.tolist() == KNOWN_DOCUMENTS
    assert maps.shuffle.tolist() == KNOWN_SHUFFLE


KNOWN_DOCUMENTS = [2, 1, 6, 0, 4, 5, 3, 7]
KNOWN_SHUFFLE = [8, 5, 6, 0, 4, 3, 2, 9, 7, 1]


def test_wide_maps_begin_where_the_originals_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """int64 from 2 (x + 1) ≥ 2³¹ - 1 on, x = (tokens - 1) / length unrounded; seen with a smaller limit."""
    import model.order.index_maps as module

    monkeypatch.setattr(module, "_INT32", 100)
    for tokens in range(440, 500):
        maps = build_index_maps(np.array([tokens], np.int32), np.arange(1), 10, 1, 0)
        assert (maps.samples.dtype == np.int32) == (2 * ((tokens - 1) / 10 + 1) < 100)


def test_epochs_are_as_few_as_do() -> None:
    for tokens in (17, 33, 100, 101):
        for samples in range(1, 60):
            epochs = epochs_needed(tokens, 16, samples)
            assert (epochs * tokens - 1) // 16 >= samples
            assert epochs == 1 or ((epochs - 1) * tokens - 1) // 16 < samples


@pytest.mark.parametrize(
    "weights", [[1.0], [3.0, 1.0], [0.3, 0.3, 0.4], [67.0, 15.0, 4.5, 4.5, 4.5, 2.5, 2.0], [1] * 5]
)
def test_the_blend_is_the_greedy_one(weights: list[float]) -> None:
    size = 10_000  # over two stretches that are walked at once
    chosen, ranks = blend(weights, size)
    normal = np.array([weight / sum(weights) for weight in weights])
    normal /= np.sum(normal)
    given = [0] * len(weights)
    for index in range(size):
        errors = [weight * max(float(index), 1.0) - count for weight, count in zip(normal.tolist(), given, strict=True)]
        best = errors.index(max(errors))
        assert (chosen[index], ranks[index]) == (best, given[best])
        given[best] += 1
    assert chosen.dtype == np.uint8 and ranks.dtype == np.int64


def test_a_wrong_guess_is_walked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no way ahead, many guesses are wrong, and the result is the same."""
    import model.order.blending as module

    weights = np.random.default_rng(0).dirichlet(np.ones(22)).tolist()
    expected = blend(weights, 20_000)
    monkeypatch.setattr(module, "_LEAD", 1)
    monkeypatch.setattr(module, "_STRETCH", 50)
    found = blend(weights, 20_000)
    assert all((one == other).all() for one, other in zip(expected, found, strict=True))


def sources_of(tmp_path: Path) -> list[MixtureSource]:
    return [
        source(tmp_path, SIZES, "a", 3.0),
        source(tmp_path, SIZES[::-1] * 2, "b", 1.0),
        source(tmp_path, [30] * 20, "c", 0.7),
    ]


def test_every_sequence_is_the_slow_one(tmp_path: Path) -> None:
    sources = sources_of(tmp_path)
    order = NeoxOrder(sources, 16, 1234, 400, tmp_path / "cache")
    files = [[one.file.document(number).tolist() for number in range(one.file.documents)] for one in sources]
    slow = slow_sequences(files, [3.0, 1.0, 0.7], 16, 400, 1234)
    assert order.sequences == len(slow) >= 400
    for index, (number, tokens) in enumerate(slow):
        assert order.locate(index).source == sources[number].name
        found = order.tokens(index)
        assert found.dtype == np.int64 and found.tolist() == tokens
    again = NeoxOrder(sources, 16, 1234, 400, tmp_path / "cache")
    assert all((again.tokens(index) == order.tokens(index)).all() for index in range(400)), "from the cache"


def test_it_never_wraps(tmp_path: Path) -> None:
    order = NeoxOrder(sources_of(tmp_path), 16, 0, 100, tmp_path / "cache")
    for index in (-1, order.sequences, 10**9):
        with pytest.raises(IndexError, match="whole length"):
            order.locate(index)


def test_it_depends_on_the_length_of_the_run(tmp_path: Path) -> None:
    """As the original does, and the fingerprint says so."""
    sources = sources_of(tmp_path)
    short, long = (NeoxOrder(sources, 16, 0, samples, tmp_path / "cache") for samples in (100, 2000))
    assert short.fingerprint != long.fingerprint
    assert any((short.tokens(index) != long.tokens(index)).any() for index in range(100))


def test_more_passes_than_allowed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"source a: .* takes 2 passes for 101 samples, and it may be read 1 times"):
        NeoxOrder([source(tmp_path, SIZES, epochs=1)], 16, 0, 100, tmp_path / "cache")


def test_the_inverse_finds_every_sequence_of_a_document(tmp_path: Path) -> None:
    order = NeoxOrder(sources_of(tmp_path), 16, 5, 400, tmp_path / "cache")
    stop = 350
    read = {index: (order.locate(index).source, set(order.tokens(index).tolist())) for index in range(stop)}
    for one in order.sources:
        for document in range(one.file.documents):
            first, past = one.file.document_span(document)
            wanted = set(range(first, past))
            expected = [index for index, (where, tokens) in read.items() if where == one.name and tokens & wanted]
            assert order.holding(one.name, first, past, stop) == expected


def test_samples_of_sources() -> None:
    """Pythia: 143,000 steps of 1,024 from one path are prepared with 0.5 % more."""
    assert samples_of_sources([1.0], 143_000 * 1024) == [147_164_160]
    assert samples_of_sources([3.0, 1.0], 1000) == [754, 252]


def test_files_of_other_runs_are_refused(tmp_path: Path) -> None:
    sizes = np.array(SIZES, np.int32)
    paths = map_paths(tmp_path / "p", "train_0", 10, 16, 0)
    write_index_maps(build_index_maps(sizes, np.arange(9), 16, 10, 0), paths)
    other = map_paths(tmp_path / "q", "train_0", 500, 16, 0)
    write_index_maps(build_index_maps(sizes, np.arange(9), 16, 500, 0), other)
    with pytest.raises(ValueError, match=r"shuffle_idx\.npy.* different runs"):
        read_index_maps((paths[0], paths[1], other[2]))
    with pytest.raises(ValueError, match=r"not int32 or int64"):
        read_index_maps((paths[0], paths[0], paths[2]))
